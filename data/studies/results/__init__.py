"""Results of the runs of studies, a JSON file each, named STUDY-CONDITION-SYSTEM-seedN."""
