# Comments and patterns in Latin 1.
printf '# gr\374\337e\nb\nc\374\n*.\344\n' > .dockerignore
touch -d 2001-02-03 a b .dockerignore
