//! The limits of connections, in total and of one address, and which connection gives way to a new one.
//!
//! A new connection always finds a place: if all are taken, the connection of least worth loses its place. That is one
//! with few or no recent requests, so silent or slow clients cannot block others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::place::{ConnectionPhase, Place};
use crate::telemetry::metrics::{Closed, ConnectionCounts};

/// The limits of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In total.
    pub all: usize,
    /// Of one address; an IPv6 /64 counts as one.
    pub per_peer: usize,
}

/// The places of a port.
#[derive(Debug)]
pub struct Places {
    bounds: Bounds,
    counts: ConnectionCounts,
    epoch: Instant,
    table: Mutex<Table>,
    /// Signals that a connection has ended.
    freed: Notify,
    open: TaskTracker,
    last_answers: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    seats: Slab<Seat>,
    /// Connections of each peer that have not lost their places, and their total.
    of_peer: HashMap<IpAddr, usize>,
    of_all: usize,
}

#[derive(Debug)]
struct Seat {
    peer: IpAddr,
    place: Arc<Place>,
}

/// A place that is taken until this is dropped with the connection.
#[derive(Debug)]
pub struct Taken {
    place: Arc<Place>,
    key: usize,
    pub(super) places: Arc<Places>,
    _open: TaskTrackerToken,
}

/// The half-life of a connection's credit.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// New connections wait while more than this share of the places, one in so many, belongs to closed connections that
/// have not ended.
const ENDING: usize = 64;

/// How long a new connection waits for a closed one to end. That takes microseconds, unless a request of it was just
/// served.
const MOMENT: Duration = Duration::from_millis(20);

impl Bounds {
    /// Returns these limits, or lower ones when the process has few file descriptors: at most this share of them, one
    /// in `share`.
    #[must_use]
    pub fn within(self, descriptors: u64, share: u64) -> Self {
        let all = usize::try_from(descriptors / share).unwrap_or(usize::MAX).min(self.all).max(1);
        Self { all, per_peer: (self.per_peer * all).div_ceil(self.all.max(1)) }
    }
}

impl Places {
    /// Returns places that are all free.
    #[must_use]
    pub fn new(bounds: Bounds, counts: ConnectionCounts) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            counts,
            epoch: Instant::now(),
            table: Mutex::default(),
            freed: Notify::new(),
            open: TaskTracker::new(),
            last_answers: AtomicBool::new(false),
        })
    }

    /// Returns a place for a new connection; another connection gives way if necessary. Returns `None` only while every
    /// candidate is having a request served.
    pub(super) async fn take(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Taken>> {
        let peer = peer(address);
        if let Some((reason, among)) = self.is_full_for(peer) {
            if !self.make_room(among, self.bounds.all / ENDING).await {
                return None;
            }
            self.counts.closed(reason).inc();
        }
        let place = Arc::new(Place::new(self.now()));
        let key = self.table().insert(Seat { peer, place: place.clone() });
        self.counts.open.inc();
        Some(Arc::new(Taken { place, key, places: self.clone(), _open: self.open.token() }))
    }

    /// Closes the connection of least worth to free its descriptor. Returns false when there is none.
    pub(super) async fn free_a_descriptor(&self) -> bool {
        let found = self.make_room(None, 0).await;
        if found {
            self.counts.closed(Closed::Descriptors).inc();
        }
        found
    }

    fn is_full_for(&self, peer: IpAddr) -> Option<(Closed, Option<IpAddr>)> {
        let table = self.table();
        if table.of_peer.get(&peer).is_some_and(|taken| *taken >= self.bounds.per_peer) {
            Some((Closed::Peer, Some(peer)))
        } else if table.of_all >= self.bounds.all {
            Some((Closed::Full, None))
        } else {
            None
        }
    }

    /// Closes the connection of least worth, and waits until at most so many closed ones have not ended. Returns false
    /// when there is none to close.
    async fn make_room(&self, among: Option<IpAddr>, ending: usize) -> bool {
        let mut freed = pin!(self.freed.notified());
        freed.as_mut().enable();
        let (found, too_many) = {
            let mut table = self.table();
            (table.close_the_least(among), table.seats.len() > table.of_all + ending)
        };
        if too_many {
            let _in_time = timeout(MOMENT, freed).await;
        }
        found
    }

    /// Makes every answer from now on the last of its connection.
    pub fn answer_for_the_last_time(&self) {
        self.last_answers.store(true, Ordering::Relaxed);
    }

    pub(super) fn are_answers_the_last(&self) -> bool {
        self.last_answers.load(Ordering::Relaxed)
    }

    /// Returns the number of open connections, including those that are about to end.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Waits until all connections have ended. No new ones may be added.
    pub async fn all_free(&self) {
        self.open.close();
        self.open.wait().await;
    }

    pub(super) fn counts(&self) -> &ConnectionCounts {
        &self.counts
    }

    /// Returns the time in half-lives.
    pub(super) fn now(&self) -> f64 {
        self.epoch.elapsed().as_secs_f64() / HALF_LIFE.as_secs_f64()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, seat: Seat) -> usize {
        *self.of_peer.entry(seat.peer).or_default() += 1;
        self.of_all += 1;
        self.seats.insert(seat)
    }

    fn remove(&mut self, key: usize) {
        let seat = self.seats.remove(key);
        if !seat.place.is_lost() {
            self.uncount(seat.peer);
        }
    }

    /// Takes the place of the connection of least worth, of one peer or of all: one without a certificate first. A
    /// request that is being served is not interrupted.
    fn close_the_least(&mut self, among: Option<IpAddr>) -> bool {
        let candidates = self.seats.iter().map(|(_, seat)| seat).filter(|seat| {
            among.is_none_or(|peer| seat.peer == peer)
                && !seat.place.is_lost()
                && seat.place.phase() != ConnectionPhase::Busy
        });
        let less = |left: &&Seat, right: &&Seat| {
            let (left, right) = (&left.place, &right.place);
            left.is_certified().cmp(&right.is_certified()).then(left.worth().total_cmp(&right.worth()))
        };
        let Some(seat) = candidates.min_by(less) else { return false };
        seat.place.lose();
        let peer = seat.peer;
        self.uncount(peer);
        true
    }

    fn uncount(&mut self, peer: IpAddr) {
        self.of_all -= 1;
        if let Some(taken) = self.of_peer.get_mut(&peer) {
            *taken -= 1;
            if *taken == 0 {
                self.of_peer.remove(&peer);
            }
        }
    }
}

impl Taken {
    /// Counts a served request.
    pub(super) fn served(&self) {
        self.place.served(self.places.now());
    }
}

impl Deref for Taken {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.places.table().remove(self.key);
        self.places.counts.open.dec();
        self.places.freed.notify_waiters();
    }
}

/// Returns what counts as one client: an IPv6 address counts as its /64.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(all: usize, per_peer: usize) -> Arc<Places> {
        Places::new(Bounds { all, per_peer }, ConnectionCounts::default())
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    async fn take(places: &Arc<Places>, last: u8) -> Arc<Taken> {
        places.take(address(last)).await.expect("a place")
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_takes_the_place_of_the_one_that_is_silent_longest() {
        let places = places(3, 3);
        let (first, second, third) = (take(&places, 1).await, take(&places, 2).await, take(&places, 3).await);
        first.served();
        let fourth = take(&places, 4).await;
        assert!(second.is_lost() && !first.is_lost() && !third.is_lost() && !fourth.is_lost());
        assert_eq!(places.counts.closed(Closed::Full).get(), 1);
        // A connection that has lost its place and not ended counts as gone, and is not closed twice.
        take(&places, 5).await;
        assert!(third.is_lost() && !first.is_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_long_ago_does_not_keep_a_place() {
        let places = places(2, 2);
        let once = take(&places, 1).await;
        once.served();
        tokio::time::advance(HALF_LIFE * 3).await;
        let silent = take(&places, 2).await;
        let _new = take(&places, 3).await;
        assert!(once.is_lost() && !silent.is_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_as_many_as_one_may_have_gives_way_itself() {
        let places = places(10, 2);
        let other = take(&places, 1).await;
        let (mine, mine_too) = (take(&places, 2).await, take(&places, 2).await);
        mine.served();
        let _mine_again = take(&places, 2).await;
        assert!(mine_too.is_lost() && !mine.is_lost() && !other.is_lost());
        assert_eq!((places.counts.closed(Closed::Peer).get(), places.counts.closed(Closed::Full).get()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_shown_no_certificate_gives_way_to_who_has() {
        let places = places(2, 2);
        let (certified, used) = (take(&places, 1).await, take(&places, 2).await);
        certified.certify();
        used.served();
        let _new = take(&places, 3).await;
        assert!(used.is_lost() && !certified.is_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_being_served_is_not_interrupted() {
        let places = places(2, 2);
        let (busy, slow) = (take(&places, 1).await, take(&places, 1).await);
        busy.enter(ConnectionPhase::Busy);
        slow.enter(ConnectionPhase::Body);
        let new = take(&places, 2).await;
        assert!(slow.is_lost() && !busy.is_lost());
        new.enter(ConnectionPhase::Busy);
        assert!(places.take(address(3)).await.is_none());
        assert_eq!(places.counts.closed(Closed::Full).get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn ended_connections_leave_nothing_behind() {
        let places = places(2, 2);
        for _ in 0..5 {
            let (kept, _lost) = (take(&places, 1).await, take(&places, 2).await);
            kept.served();
            let _new = take(&places, 3).await;
            assert_eq!((places.open(), places.counts.open.get()), (3, 3));
        }
        let table = places.table();
        assert!(table.seats.is_empty() && table.of_peer.is_empty() && table.of_all == 0);
        assert_eq!((places.open(), places.counts.open.get()), (0, 0));
    }

    #[test]
    fn an_ipv6_client_has_its_whole_64() {
        let parse = |text: &str| peer(text.parse().expect("an address"));
        assert_eq!(parse("2001:db8:1:2:3::4"), parse("2001:db8:1:2:ffff::1"));
        assert_ne!(parse("2001:db8:1:2::1"), parse("2001:db8:1:3::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), parse("10.0.0.1"));
        assert_ne!(parse("::ffff:10.0.0.1"), parse("10.0.0.2"));
    }

    #[test]
    fn with_few_descriptors_there_are_fewer_places_in_the_same_proportion() {
        let bounds = Bounds { all: 2048, per_peer: 1536 };
        assert_eq!(bounds.within(1_000_000, 2), bounds);
        assert_eq!(bounds.within(1024, 2), Bounds { all: 512, per_peer: 384 });
        assert_eq!(bounds.within(1, 2), Bounds { all: 1, per_peer: 1 });
    }
}
