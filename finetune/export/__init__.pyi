from .exporting import Export as Export
from .exporting import export_model as export_model
