"""What tests of damaged archives share."""

import zipfile


def rewrite(path, change, compression=zipfile.ZIP_STORED):
    """Change the members of an archive, whatever that makes of it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
