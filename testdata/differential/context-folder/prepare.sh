# The context's own folder.
touch in/deep
