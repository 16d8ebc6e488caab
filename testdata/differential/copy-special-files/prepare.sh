set -eu
mkfifo fifo; chmod 622 fifo; python3 -c "import socket;s=socket.socket(socket.AF_UNIX);s.bind('sock')"; chmod 751 sock
