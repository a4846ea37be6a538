"""The page of what was measured by prompts or by boxes."""
