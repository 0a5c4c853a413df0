//! Memory for reading a file of many objects, in addition to the result.

use outrigger::documents;

#[test]
fn of_a_file_of_many_objects_the_values_of_one_are_in_memory_at_a_time() {
    let object =
        |n: usize| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c-{n}}}\ndata: {{a: b, c: d}}\n---\n");
    let json = |n: usize| format!(r#"{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "c-{n}"}}}}"#);
    let texts = [(0..5_000).map(object).collect::<String>(), (0..5_000).map(json).collect::<String>()];
    for text in texts {
        let mut found = 0;
        let measured = allocation_counter::measure(|| {
            found = documents::parse_with("f", text.as_bytes(), |_| ()).expect("objects").len();
        });
        assert_eq!(found, 5_000);
        let peak = measured.bytes_max;
        assert!(peak < 200_000, "{peak} bytes beside {} of text", text.len());
    }
}
