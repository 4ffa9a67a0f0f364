"""`python -m hf_compress`, and with it `accelerate launch -m hf_compress`."""

from hf_compress.cli import main

if __name__ == "__main__":
    main()
