CREATE TABLE products (
    id integer PRIMARY KEY,
    name text NOT NULL,
    price_cents integer NOT NULL CHECK (price_cents > 0)
);

CREATE TABLE orders (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product integer NOT NULL REFERENCES products,
    count integer NOT NULL CHECK (count > 0),
    ordered timestamptz NOT NULL DEFAULT now()
);

INSERT INTO products VALUES (1, 'apple', 40), (2, 'pear', 55), (3, 'quince', 120);
