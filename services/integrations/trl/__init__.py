"""TRL, PEFT and bitsandbytes: QLoRA training in the process of one run."""
