-- window functions.
CREATE TABLE orders (id int PRIMARY KEY, customer text, amount numeric(10, 2));
INSERT INTO orders VALUES (1, 'ann', 10.50), (2, 'bob', 20), (3, 'ann', 5.25), (4, 'cyd', NULL);
SELECT customer, sum(amount) OVER (PARTITION BY customer ORDER BY id) FROM orders ORDER BY id;
SELECT id, row_number() OVER (ORDER BY amount DESC NULLS LAST, id), rank() OVER (ORDER BY customer) FROM orders ORDER BY id;
SELECT id, lag(amount) OVER (ORDER BY id), first_value(id) OVER (PARTITION BY customer ORDER BY id DESC) FROM orders ORDER BY id;
SELECT customer, sum(sum(amount)) OVER () FROM orders GROUP BY customer ORDER BY 1;
DROP TABLE orders;
