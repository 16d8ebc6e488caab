echo x > x && tar -cf t.tar x && rm x
