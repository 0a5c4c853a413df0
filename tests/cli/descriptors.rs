//! A server without free file descriptors still answers probes and reviews, and reports the problem.

use std::net::TcpStream;

use crate::harness::{Server, examples, object};
use crate::objects::SEED_POD;

#[test]
fn without_file_descriptors_probes_and_reviews_are_answered_and_it_is_told() {
    let server = Server::with_descriptors(64, &examples().join("test-sidecarset"));
    let pod = object(SEED_POD);
    let silent: Vec<_> = (0..100)
        .flat_map(|_| [server.webhook(), server.admin()])
        .map(|address| TcpStream::connect(address).expect("a connection"))
        .collect();
    for _ in 0..5 {
        assert_eq!(server.page("/healthz").0, 200);
        assert_eq!(server.review(&pod)["allowed"], true);
    }
    server.logged("ERROR", &["cannot be accepted", "ulimit -n"]);
    assert!(server.metric(r#"outrigger_accept_errors_total{port="admin"}"#) > 0);
    // The order in which the two ports accept decides which limit is reached first.
    let gave_way = ["descriptors", "full", "peer"]
        .map(|reason| format!(r#"outrigger_connections_closed_total{{port="webhook",reason="{reason}"}}"#))
        .map(|metric| server.metric(&metric));
    assert!(gave_way.iter().sum::<u64>() > 0, "{gave_way:?}");
    drop(silent);
    assert_eq!(server.metric("process_max_fds"), 64);
}

#[test]
fn silent_connections_to_the_admin_port_keep_no_probe_out() {
    let server = Server::start(&examples().join("test-sidecarset"), [""; 0]);
    let _silent: Vec<_> = (0..500).map(|_| TcpStream::connect(server.admin()).expect("a connection")).collect();
    for _ in 0..5 {
        assert_eq!(server.page("/healthz").0, 200);
    }
    assert!(server.metric(r#"outrigger_connections{port="admin"}"#) <= 64);
    assert!(server.metric(r#"outrigger_connections_closed_total{port="admin",reason="peer"}"#) > 400);
}
