"""`make run`: the whole main job on one machine, told step by step."""
