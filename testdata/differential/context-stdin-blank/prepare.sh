printf '\n\n' > stdin
