"""`finetune backbones`: what can be fine-tuned by name."""


def list_backbones() -> None:
    """List the architectures that can be fine-tuned."""
    from finetune import backbones

    for name in backbones.list_backbones():
        print(name)
