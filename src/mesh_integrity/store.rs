//! The relations of a mesh as rows of an `SQLite` database in memory, and the queries. Rows may refer to rows that do
//! not exist: the queries find those, so no foreign key is enforced.

use super::object::{Object, Spec};
use crate::istio::export::Export;
use crate::istio::host;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Row, ToSql, params};
use thiserror::Error;

/// The database failed, which happens only without memory.
#[derive(Debug, Error)]
#[error("the database of the mesh failed: {0}")]
pub struct StoreError(#[from] rusqlite::Error);

type Stored<T> = Result<T, StoreError>;

/// The database.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    domain: String,
    /// Whether the queries are about all objects.
    asks_all: bool,
}

/// A field that refers to something.
pub(super) struct Reference {
    pub object: i64,
    pub field: String,
    pub host: String,
    pub name: String,
    pub port: Option<u32>,
    /// Who may see the target, one entry for each object that defines it. Empty if none does.
    pub owners: Vec<(String, Export)>,
}

/// Objects that have a key in common.
pub(super) struct Shared {
    pub host: String,
    /// A gateway, a port or a subset.
    pub part: String,
    pub objects: Vec<i64>,
}

const TABLES: [&str; 9] = [
    "service_host",
    "service_port",
    "gateway",
    "gateway_use",
    "route_host",
    "destination",
    "rule_host",
    "rule_part",
    "egress_host",
];

impl Store {
    pub fn new(domain: &str) -> Stored<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
        // A misspelt column in double quotes would be a text otherwise.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.execute_batch(include_str!("schema.sql"))?;
        Ok(Self { connection, domain: domain.to_owned(), asks_all: true })
    }

    /// Stores many objects, and creates the indexes afterwards.
    pub fn load<'o>(&mut self, objects: impl Iterator<Item = (i64, &'o Object)>) -> Stored<()> {
        self.connection.execute_batch("BEGIN")?;
        for (id, object) in objects {
            self.insert(id, object)?;
        }
        self.connection.execute_batch("COMMIT")?;
        Ok(self.connection.execute_batch(include_str!("indexes.sql"))?)
    }

    pub fn remove(&self, id: i64) -> Stored<()> {
        for table in TABLES {
            self.connection.prepare_cached(&format!("DELETE FROM {table} WHERE object = ?"))?.execute([id])?;
        }
        Ok(())
    }

    pub fn insert(&self, id: i64, object: &Object) -> Stored<()> {
        let (namespace, name) = (object.key.namespace.as_str(), object.key.name.as_str());
        let full = |host: &str| host::full(host, namespace, &self.domain).into_owned();
        match &object.spec {
            Spec::Service(service) => {
                let host = host::service(name, namespace, &self.domain);
                self.service(id, &host, namespace, &service.export, service.ports.iter().map(|port| port.number))?;
            }
            Spec::ServiceEntry(entry) => {
                for host in &entry.hosts {
                    let ports = entry.ports.iter().map(|port| port.number);
                    self.service(id, &host.to_ascii_lowercase(), namespace, &entry.export, ports)?;
                }
            }
            Spec::Gateway(_) => self.row("INSERT INTO gateway VALUES (?, ?, ?)", params![id, namespace, name])?,
            Spec::VirtualService(routes) => {
                let mut bound: Vec<String> = Vec::new();
                for gateway in &routes.gateways {
                    bound.push(match &gateway.named {
                        None => "mesh".to_owned(),
                        Some((namespace, name)) => {
                            let row = params![id, gateway.field, namespace, name];
                            self.row("INSERT INTO gateway_use VALUES (?, ?, ?, ?)", row)?;
                            format!("{namespace}/{name}")
                        }
                    });
                }
                if bound.is_empty() {
                    bound.push("mesh".to_owned());
                }
                for host in &routes.hosts {
                    for gateway in &bound {
                        self.row("INSERT INTO route_host VALUES (?, ?, ?)", params![id, full(host), gateway])?;
                    }
                }
                for to in &routes.destinations {
                    let row = params![id, to.field, namespace, full(&to.host), to.port, to.subset];
                    self.row("INSERT INTO destination VALUES (?, ?, ?, ?, ?, ?)", row)?;
                }
            }
            Spec::DestinationRule(rule) => {
                let (host, export) = (full(&rule.host), rule.export.to_text());
                self.row("INSERT INTO rule_host VALUES (?, ?)", params![id, host])?;
                let whole = (rule.has_policy || rule.subsets.is_empty()).then_some(("", "spec.host"));
                let subsets = rule.subsets.iter().map(|subset| (subset.name.as_str(), subset.field.as_str()));
                for (subset, field) in whole.into_iter().chain(subsets) {
                    let row = params![id, field, namespace, host, subset, export, rule.selects_workloads];
                    self.row("INSERT INTO rule_part VALUES (?, ?, ?, ?, ?, ?, ?)", row)?;
                }
            }
            Spec::Sidecar(sidecar) => {
                for entry in sidecar.egress.iter().filter(|e| !e.excluded && !host::is_wildcard(&e.host)) {
                    let row = params![id, entry.field, entry.namespace.as_deref().unwrap_or("*"), entry.host];
                    self.row("INSERT INTO egress_host VALUES (?, ?, ?, ?)", row)?;
                }
            }
            Spec::Namespace(_)
            | Spec::RequestAuthentication(_)
            | Spec::Policy
            | Spec::Secret(_)
            | Spec::Workload(_) => {}
        }
        Ok(())
    }

    fn service(
        &self,
        id: i64,
        host: &str,
        namespace: &str,
        export: &Export,
        ports: impl Iterator<Item = u32>,
    ) -> Stored<()> {
        let row = params![id, host, reversed(host), namespace, export.to_text()];
        self.row("INSERT INTO service_host VALUES (?, ?, ?, ?, ?)", row)?;
        for port in ports {
            self.row("INSERT INTO service_port VALUES (?, ?, ?)", params![id, host, port])?;
        }
        Ok(())
    }

    fn row(&self, statement: &str, values: &[&dyn ToSql]) -> Stored<()> {
        self.connection.prepare_cached(statement)?.execute(values)?;
        Ok(())
    }

    /// Makes the following queries cover all objects.
    pub fn touch_all(&mut self, objects: impl IntoIterator<Item = i64>) -> Stored<()> {
        self.touch(objects)?;
        self.asks_all = true;
        Ok(())
    }

    /// Makes the following queries cover these objects.
    pub fn touch(&mut self, objects: impl IntoIterator<Item = i64>) -> Stored<()> {
        self.asks_all = false;
        self.connection.execute_batch("BEGIN; DELETE FROM touched")?;
        for id in objects {
            self.row("INSERT OR IGNORE INTO touched VALUES (?)", params![id])?;
        }
        Ok(self.connection.execute_batch("COMMIT")?)
    }

    /// Returns objects that have or name one of the hosts that an object has or names.
    pub fn neighbours(&self, object: i64) -> Stored<Vec<i64>> {
        // A short host name gets advice once the full one exists.
        let hosts = "SELECT host FROM service_host WHERE object = ?1 UNION SELECT host FROM route_host WHERE object = ?1 \
                     UNION SELECT host FROM rule_host WHERE object = ?1 \
                     UNION SELECT replace(host, '.svc.' || ?2, '') FROM service_host WHERE object = ?1 \
                     UNION SELECT replace(host, '.' || ?2, '') FROM service_host WHERE object = ?1";
        let tables = ["service_host", "route_host", "destination", "rule_host", "egress_host"];
        let parts = tables.map(|table| format!("SELECT object FROM {table} WHERE host IN ({hosts})"));
        let mut statement = self.connection.prepare_cached(&parts.join(" UNION "))?;
        let rows = statement.query_map(params![object, self.domain], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns missing Gateways that are named; `host` is the namespace.
    pub fn missing_gateways(&self) -> Stored<Vec<Reference>> {
        self.references(
            "SELECT object, field, namespace, name, NULL, NULL FROM gateway_use u JOIN touched USING (object) \
             WHERE NOT EXISTS (SELECT 1 FROM gateway g WHERE g.namespace = u.namespace AND g.name = u.name)",
        )
    }

    /// Returns destinations whose host does not exist or is not visible to everybody.
    pub fn unseen_destinations(&self) -> Stored<Vec<Reference>> {
        self.unseen("destination")
    }

    /// Returns the same for DestinationRules.
    pub fn unseen_rules(&self) -> Stored<Vec<Reference>> {
        self.unseen("(SELECT object, 'spec.host' AS field, host FROM rule_host)")
    }

    /// Returns the same for Sidecars, whose entries may name the namespace of the host.
    pub fn unseen_egress(&self) -> Stored<Vec<Reference>> {
        self.references(
            "SELECT object, field, e.host, e.namespace, NULL, \
             (SELECT group_concat(h.namespace || '=' || h.export, ' ') FROM service_host h WHERE h.host = e.host) \
             FROM egress_host e JOIN touched USING (object) WHERE NOT EXISTS (SELECT 1 FROM service_host h \
             WHERE h.host = e.host AND h.export = '*' AND e.namespace IN ('*', h.namespace)) AND NOT EXISTS \
             (SELECT 1 FROM route_host r WHERE r.host = e.host)",
        )
    }

    fn unseen(&self, table: &str) -> Stored<Vec<Reference>> {
        self.references(&format!(
            "SELECT object, field, d.host, '', NULL, \
             (SELECT group_concat(h.namespace || '=' || h.export, ' ') FROM service_host h WHERE h.host = d.host) \
             FROM {table} d JOIN touched USING (object) \
             WHERE NOT EXISTS (SELECT 1 FROM service_host h WHERE h.host = d.host AND h.export = '*')"
        ))
    }

    /// Returns destinations whose port no service of their host has.
    pub fn missing_ports(&self) -> Stored<Vec<Reference>> {
        self.references(
            "SELECT object, field, host, \
             (SELECT group_concat(DISTINCT p.port) FROM service_port p WHERE p.host = d.host), port, NULL \
             FROM destination d JOIN touched USING (object) \
             WHERE port IS NOT NULL AND EXISTS (SELECT 1 FROM service_port p WHERE p.host = d.host) \
             AND NOT EXISTS (SELECT 1 FROM service_port p WHERE p.host = d.host AND p.port = d.port)",
        )
    }

    /// Returns destinations without a port, of hosts with several.
    pub fn ports_to_choose(&self) -> Stored<Vec<Reference>> {
        self.references(
            "SELECT object, field, host, \
             (SELECT group_concat(DISTINCT p.port) FROM service_port p WHERE p.host = d.host), NULL, NULL \
             FROM destination d JOIN touched USING (object) WHERE port IS NULL \
             AND (SELECT count(DISTINCT p.port) FROM service_port p WHERE p.host = d.host) > 1",
        )
    }

    /// Returns destinations whose subset is defined neither in their own namespace nor in the root namespace, with the places
    /// that define it for the same host.
    pub fn unseen_subsets(&self, root_namespace: &str) -> Stored<Vec<Reference>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT object, field, host, subset, NULL, \
             (SELECT group_concat(s.namespace || '=' || s.export, ' ') FROM rule_part s \
             WHERE s.host = d.host AND s.subset = d.subset) \
             FROM destination d JOIN touched USING (object) WHERE subset <> '' AND NOT EXISTS (SELECT 1 FROM rule_part s \
             WHERE s.host = d.host AND s.subset = d.subset AND s.namespace IN (d.namespace, ?))",
        )?;
        let rows = statement.query_map([root_namespace], reference)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns hosts with wildcards that services have (`subset` is empty) or that DestinationRules define subsets of.
    pub fn wildcards(&self) -> Stored<Vec<(String, String, Export)>> {
        let mut statement = self.connection.prepare_cached(
            // The texts between these two begin with `*`. LIKE would not use the index.
            "SELECT host, '', namespace, export FROM service_host WHERE host >= '*' AND host < '+' \
             UNION ALL SELECT host, subset, namespace, export FROM rule_part \
             WHERE host >= '*' AND host < '+' AND subset <> ''",
        )?;
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, Export::from_text(&row.get::<_, String>(3)?))))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns whether a service of a namespace (`None`: of any) has a host with this end.
    pub fn has_host_like(&self, namespace: Option<&str>, end: &str) -> Stored<bool> {
        let mut statement = self.connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM service_host WHERE reversed BETWEEN ?2 AND ?3 \
             AND (?1 IS NULL OR namespace = ?1))",
        )?;
        Ok(statement.query_row(params![namespace, reversed(end), reversed(end) + "\u{10FFFF}"], |row| row.get(0))?)
    }

    pub fn has_host(&self, host: &str) -> Stored<bool> {
        let mut statement =
            self.connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM service_host WHERE host = ?)")?;
        Ok(statement.query_row([host], |row| row.get(0))?)
    }

    /// Returns destinations without a subset of gateway-only VirtualServices, whose host another one sends to subsets
    /// in the mesh.
    pub fn missed_subset_rules(&self) -> Stored<Vec<Reference>> {
        self.references(
            "SELECT object, field, host, '', NULL, NULL FROM touched JOIN destination d USING (object) WHERE d.subset = '' \
             AND EXISTS (SELECT 1 FROM route_host o WHERE o.object = d.object) \
             AND NOT EXISTS (SELECT 1 FROM route_host o WHERE o.object = d.object AND o.gateway = 'mesh') \
             AND EXISTS (SELECT 1 FROM route_host r JOIN destination s ON s.object = r.object \
             WHERE r.host = d.host AND r.gateway = 'mesh' AND s.subset <> '')",
        )
    }

    /// Returns hosts that several services have.
    pub fn shared_hosts(&self) -> Stored<Vec<Shared>> {
        self.shared("service_host", "''")
    }

    /// Returns hosts and ports that several services have.
    pub fn shared_ports(&self) -> Stored<Vec<Shared>> {
        self.shared("service_port", "port")
    }

    /// Returns hosts and gateways that several VirtualServices have.
    pub fn shared_routes(&self) -> Stored<Vec<Shared>> {
        self.shared("route_host", "gateway")
    }

    /// Returns hosts and subsets that several DestinationRules of a namespace define for all workloads.
    pub fn shared_rules(&self) -> Stored<Vec<Shared>> {
        self.shared(
            "(SELECT object, host, namespace, subset FROM rule_part WHERE NOT is_selective)",
            "namespace || '/' || subset",
        )
    }

    fn shared(&self, table: &str, part: &str) -> Stored<Vec<Shared>> {
        // The index on hosts finds those of few objects.
        let only = if self.asks_all {
            ""
        } else {
            &format!("WHERE host IN (SELECT host FROM touched JOIN {table} USING (object))")
        };
        let statement = format!(
            "SELECT host, {part}, group_concat(DISTINCT object) FROM {table} {only} GROUP BY 1, 2 \
             HAVING count(DISTINCT object) > 1"
        );
        let mut statement = self.connection.prepare_cached(&statement)?;
        let rows = statement.query_map([], |row| {
            let part = match row.get_ref(1)? {
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                other => other.as_str().unwrap_or_default().to_owned(),
            };
            let objects: String = row.get(2)?;
            Ok(Shared {
                host: row.get(0)?,
                part,
                objects: objects.split(',').filter_map(|id| id.parse().ok()).collect(),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn references(&self, statement: &str) -> Stored<Vec<Reference>> {
        let mut statement = self.connection.prepare_cached(statement)?;
        let rows = statement.query_map([], reference)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Returns a host in reverse, so that an index finds those with the same end.
fn reversed(host: &str) -> String {
    host.chars().rev().collect()
}

fn reference(row: &Row<'_>) -> rusqlite::Result<Reference> {
    let owners: Option<String> = row.get(5)?;
    let owners = owners.iter().flat_map(|owners| owners.split(' ')).filter_map(|owner| owner.split_once('='));
    Ok(Reference {
        object: row.get(0)?,
        field: row.get(1)?,
        host: row.get(2)?,
        name: row.get(3)?,
        port: row.get(4)?,
        owners: owners.map(|(namespace, export)| (namespace.to_owned(), Export::from_text(export))).collect(),
    })
}
