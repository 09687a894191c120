-- types that hold no columns yet.
SELECT 5::int4::money IS NOT NULL, '$5.50'::money, 12.345::numeric::money;
SELECT point(1, 2) <-> point(4, 6);
SELECT '101'::bit(3), '101'::varbit, x'1F', b'101';
