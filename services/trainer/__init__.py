"""One process per run: plan, QLoRA, safetensors, manifest, replay."""
