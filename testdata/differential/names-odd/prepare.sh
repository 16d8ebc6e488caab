
mkdir odd && cd odd && echo 1 > 'with space' && echo 2 > "$(printf 'new\nline')" && echo 4 > '[bracket]' && echo 5 > '*star' && echo 6 > 'back\slash' && echo 7 > -dash
