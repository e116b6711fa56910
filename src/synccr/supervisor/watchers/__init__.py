"""What a supervisor keeps an eye on beside its main job."""
