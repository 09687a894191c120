-- json and jsonb.
SELECT '{"a": {"b": [1, 2]}}'::json -> 'a' -> 'b' -> 1, '{"a": 1}'::json ->> 'a', '{"a": {"b": 2}}'::json #>> '{a,b}';
SELECT '{"a": 1}'::jsonb -> 'a', '{"a": 1, "b": 2}'::jsonb @> '{"a": 1}', '{"a": 1}'::jsonb ? 'a', '{"a":1}'::jsonb || '{"b":2}';
SELECT json_build_object('a', 1, 'b', 'x'), json_build_array(1, 'x', NULL), to_json('x'::text), to_jsonb(1), row_to_json(ROW(1, 'a'));
SELECT json_agg(x), jsonb_agg(x ORDER BY x DESC), json_object_agg('k' || x, x) FROM generate_series(1, 3) x;
SELECT json_array_length('[1, 2, 3]'), jsonb_typeof('{"a": 1}'), jsonb_pretty('{"a": 1}');
SELECT * FROM json_array_elements('[1, "x", null]');
SELECT * FROM jsonb_each('{"a": 1, "b": "x"}');
SELECT '{"a": 1}'::json, '{"a":1,  "a":2}'::jsonb, '[1, 2]'::jsonb, 'null'::json;
SELECT '{bad'::json;
SELECT * FROM json_to_recordset('[{"a":1,"b":"x"}]') AS r(a int, b text);
SELECT * FROM jsonb_array_elements_text('["a","b"]') WITH ORDINALITY;
SELECT json_agg(id ORDER BY id) FROM generate_series(1, 3) id;
