"""Programs that use the project as an adopter would."""
