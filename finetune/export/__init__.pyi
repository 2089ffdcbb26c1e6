from .exporting import export_model as export_model
from .proof import Export as Export
