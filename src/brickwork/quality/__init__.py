"""Quality of pictures: held-out loss, PSNR, Fréchet distance, class agreement."""
