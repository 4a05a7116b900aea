"""What a Hugging Face Space needs beside the app: its front matter, its packages, and a script that lays it out."""
