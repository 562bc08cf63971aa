"""The plugin's fixtures, whether or not the installed package has brought them along already."""

from __future__ import annotations

from ocidist.testing.plugin import (  # noqa: F401 -- fixtures
    oci_content,
    oci_registry,
    oci_registry_factory,
    oci_registry_options,
)

# A project of its own: test_plugin.py copies it and runs its tests.
collect_ignore = ["sample"]
