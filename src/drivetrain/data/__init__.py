"""Sources, checks, profiles, features and splits: everything before a model sees a row."""
