"""What the project ships: published numbers, the IU X-Ray split, the finding maps, stored results. Read through
`rrg_lib.runtime.package_data`."""
