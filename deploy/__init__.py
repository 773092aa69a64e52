"""What ships SeeFood102: each step of .github/workflows/deploy.yml is a module here, and runs from a laptop, too."""
