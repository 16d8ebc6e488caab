printf "FROM busybox\nRUN echo x > /f\nCOPY <<E /g\ng\nE\n" > stdin
