p=.; for i in $(seq 1 60); do p=$p/folder$i; done; mkdir -p $p && echo deep > $p/f; n=$(printf %0250d 0); echo long > $n; mkdir many && cd many && for i in $(seq 1 400); do echo $i > f$i; done
