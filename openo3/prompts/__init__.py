"""The templates of prompts that are installed with openo3, read by `openo3.prompt_file`."""
