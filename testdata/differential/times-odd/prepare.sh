
mkdir t && touch -d '1969-12-31 23:00:00 UTC' t/before && touch -d '2040-01-01 UTC' t/after && touch -d '2001-02-03 04:05:06.789 UTC' t/fraction && touch -d '1970-01-01 UTC' t/zero
