//! Lists beside the rows that have them.

use std::path::PathBuf;

use expect_test::expect;

use super::stepped;
use crate::pipeline::load_text;

const ORDERS: &str = "CREATE TABLE orders (
  id BIGINT, tags TEXT[], items ARRAY<ROW<id BIGINT, price DOUBLE>>, prices MAP<TEXT, DOUBLE>,
  at TIMESTAMP(3), WATERMARK FOR at AS at);
CREATE TABLE rates (name TEXT, factor DOUBLE, PRIMARY KEY (name) NOT ENFORCED);
CREATE TABLE o; INSERT INTO o ";

/// The columns and the plan of a query, or what is wrong with it.
fn planned(query: &str) -> String {
    match load_text(PathBuf::from("lists.sql"), format!("{ORDERS}{query};")) {
        Ok((pipeline, _)) => {
            let plan = &pipeline.queries[0].plan;
            let fields = plan.schema().fields().iter();
            let fields = fields.map(|field| format!("{} {}", field.name(), field.data_type()));
            let fields: Vec<String> = fields.collect();
            format!("{}\n{}", fields.join(", "), plan.display_indent())
        }
        Err(mistakes) => {
            let said = mistakes.0.iter().map(|mistake| {
                let span = mistake.span.as_ref().expect("a place");
                let at = &span.file.text[span.start..span.end];
                format!("[{at}] {} | {}", mistake.message, mistake.help.as_deref().unwrap_or("-"))
            });
            said.collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn lists_are_taken_apart_in_from_as_in_select() {
    let by_select = [
        "SELECT id, tag FROM (SELECT *, unnest(tags) AS tag FROM trips) WHERE tag <> 'x'",
        "SELECT trips.id, tag, place FROM (SELECT *, unnest(tags) AS tag,
           unnest(generate_series(1, array_length(tags))) AS place FROM trips)",
    ]
    .map(|sql| stepped(&format!("sql = \"\"\"{sql}\"\"\"")).unwrap());
    for (at, sql) in [
        (0, "SELECT id, tag FROM trips CROSS JOIN UNNEST(tags) AS u(tag) WHERE tag <> 'x'"),
        (0, "SELECT trips.id, u.tag FROM trips, UNNEST(trips.tags) AS u(tag) WHERE u.tag <> 'x'"),
        (0, "SELECT id, tag FROM trips JOIN UNNEST(tags) AS tag ON TRUE WHERE tag <> 'x'"),
        (0, "SELECT id, tag FROM trips, LATERAL UNNEST(tags) AS tag WHERE tag <> 'x'"),
        (0, "SELECT id, tag FROM trips CROSS JOIN LATERAL unnest(tags) AS u(tag) WHERE tag <> 'x'"),
        (0, "SELECT id, tag FROM trips, LATERAL TABLE(UNNEST(tags)) AS u(tag) WHERE tag <> 'x'"),
        (0, "SELECT id, tag FROM trips JOIN UNNEST(tags) AS u(tag) ON u.tag <> 'x'"),
        (0, "SELECT id, tag FROM (trips CROSS JOIN UNNEST(tags) AS u(tag)) WHERE tag <> 'x'"),
        (
            1,
            "SELECT trips.id, u.tag, place FROM trips
             CROSS JOIN UNNEST(tags) WITH ORDINALITY AS u(tag, place)",
        ),
        (
            1,
            "SELECT trips.id, u.tag, u.place FROM trips
             CROSS JOIN UNNEST(tags, generate_series(1, array_length(tags))) AS u(tag, place)",
        ),
    ] {
        let plan = stepped(&format!("sql = \"\"\"{sql}\"\"\"")).unwrap();
        // What is called u there has no table's name in SELECT.
        let plan =
            plan.replace("u.tag", "tag").replace("tag.tag", "tag").replace("u.place", "place");
        assert_eq!(plan, by_select[at], "{sql}");
    }
}

#[test]
fn fields_of_structs_become_columns() {
    for (query, expected) in [
        (
            "SELECT orders.id, i.id AS item, price FROM orders CROSS JOIN UNNEST(items) AS i
             WHERE price > 3",
            expect![[r#"
                id Int64, item Int64, price Float64
                Projection: orders.id, i.id AS item, i.price
                  Filter: i.price > Float64(3)
                    Projection: orders.id, get_field(__unnest_placeholder(orders.items,depth=1), Utf8("id")) AS id, get_field(__unnest_placeholder(orders.items,depth=1), Utf8("price")) AS price
                      Unnest: lists[__unnest_placeholder(orders.items)|depth=1] structs[]
                        Projection: orders.id, orders.items AS __unnest_placeholder(orders.items)
                          TableScan: orders projection=[id, items]"#]],
        ),
        (
            "SELECT orders.id, a, b FROM orders, UNNEST(items) AS i(a, b)",
            expect![[r#"
            id Int64, a Int64, b Float64
            Projection: orders.id, get_field(__unnest_placeholder(orders.items,depth=1), Utf8("id")) AS a, get_field(__unnest_placeholder(orders.items,depth=1), Utf8("price")) AS b
              Unnest: lists[__unnest_placeholder(orders.items)|depth=1] structs[]
                Projection: orders.id, orders.items AS __unnest_placeholder(orders.items)
                  TableScan: orders projection=[id, items]"#]],
        ),
        (
            "SELECT orders.id, i.item FROM orders, UNNEST(items) AS i(item)",
            expect![[r#"
            id Int64, item Struct("id": Int64, "price": Float64)
            Projection: orders.id, __unnest_placeholder(orders.items,depth=1) AS item
              Unnest: lists[__unnest_placeholder(orders.items)|depth=1] structs[]
                Projection: orders.id, orders.items AS __unnest_placeholder(orders.items)
                  TableScan: orders projection=[id, items]"#]],
        ),
        (
            "SELECT orders.id, i.key, value FROM orders, UNNEST(prices) AS i",
            expect![[r#"
            id Int64, key Utf8, value Float64
            Projection: orders.id, get_field(__unnest_placeholder(map_entries(orders.prices),depth=1), Utf8("key")) AS key, get_field(__unnest_placeholder(map_entries(orders.prices),depth=1), Utf8("value")) AS value
              Unnest: lists[__unnest_placeholder(map_entries(orders.prices))|depth=1] structs[]
                Projection: orders.id, map_entries(orders.prices) AS __unnest_placeholder(map_entries(orders.prices))
                  TableScan: orders projection=[id, prices]"#]],
        ),
        (
            "SELECT orders.id, tag, a, b, place FROM orders
             LEFT JOIN LATERAL UNNEST(tags, items) WITH ORDINALITY AS u(tag, a, b, place) ON TRUE",
            expect![[r#"
                id Int64, tag Utf8, a Int64, b Float64, place Int64
                Projection: orders.id, __unnest_placeholder(orders.tags,depth=1) AS tag, get_field(__unnest_placeholder(orders.items,depth=1), Utf8("id")) AS a, get_field(__unnest_placeholder(orders.items,depth=1), Utf8("price")) AS b, __unnest_placeholder(generate_series(Int64(1),greatest(array_length(orders.tags),array_length(orders.items))),depth=1) AS place
                  Unnest: lists[__unnest_placeholder(orders.tags)|depth=1, __unnest_placeholder(orders.items)|depth=1, __unnest_placeholder(generate_series(Int64(1),greatest(array_length(orders.tags),array_length(orders.items))))|depth=1] structs[]
                    Projection: orders.id, orders.tags AS __unnest_placeholder(orders.tags), orders.items AS __unnest_placeholder(orders.items), generate_series(Int64(1), CAST(greatest(array_length(orders.tags), array_length(orders.items)) AS Int64)) AS __unnest_placeholder(generate_series(Int64(1),greatest(array_length(orders.tags),array_length(orders.items))))
                      TableScan: orders projection=[id, tags, items]"#]],
        ),
        (
            "SELECT id, g FROM orders CROSS JOIN LATERAL generate_series(1, id) AS g",
            expect![[r#"
            id Int64, g Int64
            Projection: orders.id, __unnest_placeholder(generate_series(Int64(1),orders.id),depth=1) AS g
              Unnest: lists[__unnest_placeholder(generate_series(Int64(1),orders.id))|depth=1] structs[]
                Projection: orders.id, generate_series(Int64(1), orders.id) AS __unnest_placeholder(generate_series(Int64(1),orders.id))
                  TableScan: orders projection=[id]"#]],
        ),
        (
            "SELECT o.id, t.tag, r.factor FROM orders AS o CROSS JOIN UNNEST(o.tags) AS t(tag)
             JOIN rates AS r ON r.name = t.tag",
            expect![[r#"
                id Int64, tag Utf8, factor Float64
                Projection: o.id, t.tag, r.factor
                  Inner Join: t.tag = r.name
                    Projection: o.id, __unnest_placeholder(o.tags,depth=1) AS tag
                      Unnest: lists[__unnest_placeholder(o.tags)|depth=1] structs[]
                        Projection: o.id, o.tags AS __unnest_placeholder(o.tags)
                          SubqueryAlias: o
                            TableScan: orders projection=[id, tags]
                    SubqueryAlias: r
                      TableScan: rates projection=[name, factor]"#]],
        ),
        (
            "SELECT window_start, tag, count(*) AS n FROM orders CROSS JOIN UNNEST(tags) AS t(tag)
             GROUP BY tumble(at, INTERVAL '1' HOUR), tag",
            expect![[r#"
                window_start Timestamp(ms), tag Utf8, n Int64
                Projection: window_start, t.tag, count(Int64(1)) AS count(*) AS n
                  Aggregate: groupBy=[[window_start, window_end, t.tag]], aggr=[[count(Int64(1))]]
                    Projection: __unnest_placeholder(orders.tags,depth=1) AS tag, tumble_start(orders.at, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }")) AS window_start, tumble_end(orders.at, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }")) AS window_end
                      Unnest: lists[__unnest_placeholder(orders.tags)|depth=1] structs[]
                        Projection: orders.at, orders.tags AS __unnest_placeholder(orders.tags)
                          TableScan: orders projection=[tags, at]"#]],
        ),
        (
            "SELECT o.id, a.tag, b.tag AS other
             FROM orders AS o, UNNEST(o.tags) AS a(tag), UNNEST(o.tags) AS b(tag)",
            expect![[r#"
                id Int64, tag Utf8, other Utf8
                Projection: o.id, a.tag, __unnest_placeholder(o.tags,depth=1) AS other
                  Unnest: lists[__unnest_placeholder(o.tags)|depth=1] structs[]
                    Projection: o.id, __unnest_placeholder(o.tags,depth=1) AS tag, o.tags AS __unnest_placeholder(o.tags)
                      Unnest: lists[__unnest_placeholder(o.tags)|depth=1] structs[]
                        Projection: o.id, o.tags, o.tags AS __unnest_placeholder(o.tags)
                          SubqueryAlias: o
                            TableScan: orders projection=[id, tags]"#]],
        ),
    ] {
        expected.assert_eq(&planned(query));
    }
}

#[test]
fn what_is_no_list_of_the_row_is_refused() {
    for (query, expected) in [
        (
            "SELECT x FROM orders CROSS JOIN UNNEST(id) AS u(x)",
            expect!["[id] UNNEST takes a list or a map, and this is bigint | -"],
        ),
        (
            "SELECT x FROM orders CROSS JOIN UNNEST(tagz) AS u(x)",
            expect!["[tagz] there is no column 'tagz' here | did you mean 'tags'?"],
        ),
        (
            "SELECT x FROM orders CROSS JOIN UNNEST(items) AS u(x, y, z)",
            expect![
                "[items] 2 columns come of this (id, price), and 3 have names | name all of them, or none"
            ],
        ),
        (
            "SELECT x FROM orders LEFT JOIN UNNEST(tags) AS u(x) ON x <> 'a'",
            expect![
                "[tags] a LEFT JOIN with a row's own lists is ON TRUE | write ON TRUE; a condition in WHERE leaves rows without a match out"
            ],
        ),
        (
            "SELECT x FROM orders RIGHT JOIN UNNEST(tags) AS u(x) ON TRUE",
            expect![
                "[tags] a row's own lists stand behind CROSS JOIN, JOIN … ON or LEFT JOIN … ON TRUE | such as t CROSS JOIN UNNEST(t.list) AS u(element)"
            ],
        ),
        (
            "SELECT x, y FROM orders CROSS JOIN UNNEST(tags) AS u(x)",
            expect![
                "[y] there is no column 'y' here | there is 'at', 'id', 'items', 'prices', 'tags' and 'x'"
            ],
        ),
        (
            "SELECT x FROM UNNEST(make_array(1, 2)) AS u(x)",
            expect![
                "[o] a query without a source cannot run as a stream: nothing ever comes | add FROM with a source"
            ],
        ),
    ] {
        expected.assert_eq(&planned(query));
    }
}
