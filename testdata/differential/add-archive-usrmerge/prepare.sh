mkdir -p t/lib/x t/bin t/var/run/y && echo x > t/lib/x/f && echo y > t/bin/new-tool && echo z > t/var/run/y/f && tar -C t -cf t.tar lib bin var && rm -r t
