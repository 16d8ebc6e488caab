set -eu
touch -d '1970-01-01 00:00:00Z' epoch; touch -d '2001-02-03 04:05:06.789Z' nano; touch -d '2099-01-01 00:00:00Z' future; touch -d '1980-01-01 00:00:00Z' old; mkdir d; touch -d '1999-09-09 09:09:09Z' d
