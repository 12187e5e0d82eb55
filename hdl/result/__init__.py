"""What the core gives, on its way to memory: outputs, survivors, completions."""
