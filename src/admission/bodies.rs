//! Request bodies: the room they take as they grow, their deadlines, and which of them gives way when room runs out.
//!
//! A body takes room for the bytes that have arrived, not for its announced length, so a silent client takes none.
//! Small bodies always find room, because connections are limited. When a large body finds no room, the body that has
//! used most of its time gives way, not the newest. The memory of all bodies, reviews and answers is limited too
//! (`memory`).

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use slab::Slab;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::memory::ALL;
use super::metrics::Shed;
use super::refusal::Reason;
use crate::connections::allowance;

/// The room for the bodies of one webhook.
#[derive(Debug)]
pub(super) struct Bodies {
    limit: usize,
    moment: Duration,
    room: Arc<Semaphore>,
    /// The room for all reviews.
    all: &'static Semaphore,
    waiting: Mutex<Slab<Waiting>>,
}

/// A whole body. Its room is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Whole {
    pub body: Vec<u8>,
    pub room: Option<Room>,
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    ours: OwnedSemaphorePermit,
    of_all: SemaphorePermit<'static>,
}

/// A body that is still arriving, as the others see it.
#[derive(Debug)]
struct Waiting {
    begun: Instant,
    arrived: usize,
    room: usize,
    gives_way: bool,
    waker: Waker,
}

struct Reading<'b> {
    bodies: &'b Bodies,
    announced: Option<usize>,
    begun: Instant,
    body: Vec<u8>,
    /// The capacity of `body`.
    taken: usize,
    /// The part of it that is counted.
    room: Option<Room>,
    /// Whether the body is waiting for room.
    key: Option<usize>,
}

/// The first room of a body, which is not counted. Most reviews need no more.
const FIRST: usize = 16 * 1024;

/// A body that has used less than this share of its time does not give way: it is almost whole, and would be sent
/// again.
const LATE: f64 = 0.1;

impl Bodies {
    /// Returns room for `bytes` of bodies. Each has up to `limit`, and as long as [`allowance`] says.
    pub fn new(bytes: usize, limit: usize, moment: Duration) -> Self {
        let room = Arc::new(Semaphore::new(bytes.max(limit).min(Semaphore::MAX_PERMITS)));
        Self { limit, moment, room, all: &ALL, waiting: Mutex::default() }
    }

    /// Reads a body to its end.
    pub async fn read(&self, body: &mut Body) -> Result<Whole, Reason> {
        let announced = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        let begun = Instant::now();
        let mut reading = Reading { bodies: self, announced, begun, body: Vec::new(), taken: 0, room: None, key: None };
        let mut alarm = pin!(sleep_until(reading.deadline()));
        while let Some(data) = poll_fn(|context| reading.poll_data(body, alarm.as_mut(), context)).await? {
            reading.append(&data).await?;
        }
        Ok(Whole { body: std::mem::take(&mut reading.body), room: reading.room.take() })
    }

    /// Takes room for a body that is this late. Bodies that are later give way.
    async fn take(&self, bytes: usize, lateness: f64, deadline: Instant) -> Result<Room, Reason> {
        let permits = u32::try_from(bytes).map_err(|_| Reason::TooLarge)?;
        let ours = match self.room.clone().try_acquire_many_owned(permits) {
            Ok(ours) => ours,
            Err(_) if self.make_room(bytes, lateness) => {
                let room = timeout_at(deadline, self.room.clone().acquire_many_owned(permits)).await;
                room.ok().and_then(Result::ok).ok_or(Reason::Overload(Shed::Bytes))?
            }
            Err(_) => return Err(Reason::Overload(Shed::Bytes)),
        };
        let of_all = self.all.try_acquire_many(permits).map_err(|_| Reason::Overload(Shed::Bytes))?;
        Ok(Room { ours, of_all })
    }

    /// Returns whether so many bytes fit once the latest bodies give way. If not, no body gives way.
    fn make_room(&self, bytes: usize, lateness: f64) -> bool {
        let mut waiting = self.waiting();
        let now = Instant::now();
        let mut later: Vec<_> = waiting
            .iter_mut()
            .map(|(_, body)| (lateness_of(body.begun, body.arrived, self.moment, now), body))
            .filter(|(theirs, body)| *theirs > lateness.max(LATE) && !body.gives_way)
            .collect();
        later.sort_unstable_by(|(left, _), (right, _)| right.total_cmp(left));
        let mut room = self.room.available_permits();
        let count = later.iter().take_while(|(_, body)| {
            let too_few = room < bytes;
            room += if too_few { body.room } else { 0 };
            too_few
        });
        let count = count.count();
        if room < bytes {
            return false;
        }
        for (_, body) in later.into_iter().take(count) {
            body.gives_way = true;
            body.waker.wake_by_ref();
        }
        true
    }

    fn waiting(&self) -> MutexGuard<'_, Slab<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn merge(&mut self, more: Self) {
        self.ours.merge(more.ours);
        self.of_all.merge(more.of_all);
    }
}

impl Reading<'_> {
    fn deadline(&self) -> Instant {
        self.begun + allowance(self.bodies.moment, self.body.len())
    }

    fn poll_data(
        &mut self,
        body: &mut Body,
        mut alarm: Pin<&mut Sleep>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Reason>> {
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(None) => return Poll::Ready(Ok(None)),
            // Trailers are ignored.
            Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Ok(Some(frame.into_data().unwrap_or_default()))),
            Poll::Ready(Some(Err(_broken))) => return Poll::Ready(Err(Reason::Broken)),
            Poll::Pending => {}
        }
        if self.gives_way(context.waker()) {
            return Poll::Ready(Err(Reason::Overload(Shed::Bytes)));
        }
        while alarm.as_mut().poll(context).is_ready() {
            let deadline = self.deadline();
            if Instant::now() >= deadline {
                return Poll::Ready(Err(Reason::Overload(Shed::SlowBody)));
            }
            alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    /// Returns whether this body has to give way. If not, it is woken when it has to. A small body never gives way.
    fn gives_way(&mut self, waker: &Waker) -> bool {
        if self.room.is_none() {
            return false;
        }
        let mut waiting = self.bodies.waiting();
        let Some(key) = self.key else {
            let (begun, arrived, room) = (self.begun, self.body.len(), counted(self.taken));
            self.key = Some(waiting.insert(Waiting { begun, arrived, room, gives_way: false, waker: waker.clone() }));
            return false;
        };
        let shown = &mut waiting[key];
        (shown.arrived, shown.room) = (self.body.len(), counted(self.taken));
        shown.waker.clone_from(waker);
        shown.gives_way
    }

    /// Returns whether it was told to give way.
    fn was_told(&self) -> bool {
        self.key.is_some_and(|key| self.bodies.waiting()[key].gives_way)
    }

    async fn append(&mut self, data: &Bytes) -> Result<(), Reason> {
        let length = self.body.len() + data.len();
        if length > self.bodies.limit {
            return Err(Reason::TooLarge);
        }
        if length > self.taken {
            let at_most = self.announced.unwrap_or(self.bodies.limit).min(self.bodies.limit);
            let wanted = room_for(length, at_most);
            let more = counted(wanted) - counted(self.taken);
            if more > 0 {
                // Another body waits for its room, so it must not wait for more.
                if self.was_told() {
                    return Err(Reason::Overload(Shed::Bytes));
                }
                let lateness = lateness_of(self.begun, self.body.len(), self.bodies.moment, Instant::now());
                let more = self.bodies.take(more, lateness, self.deadline()).await?;
                match &mut self.room {
                    Some(room) => room.merge(more),
                    none => *none = Some(more),
                }
            }
            self.taken = wanted;
            // A large body is not copied repeatedly: the part that has not arrived takes addresses and no memory.
            let capacity = if wanted > COPIED { at_most.max(wanted) } else { wanted };
            self.body.reserve_exact(capacity - self.body.len());
        }
        self.body.extend_from_slice(data);
        Ok(())
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.bodies.waiting().remove(key);
        }
    }
}

/// A body up to this long is copied as it grows.
const COPIED: usize = 1024 * 1024;

/// Returns the room for a body of which so much has arrived. It doubles, up to the size that the body may still reach.
fn room_for(arrived: usize, at_most: usize) -> usize {
    arrived.next_power_of_two().max(FIRST).min(at_most).max(arrived)
}

/// Returns the part of the room that is counted.
fn counted(room: usize) -> usize {
    room.saturating_sub(FIRST)
}

/// Returns the share of its time that a body has used.
fn lateness_of(begun: Instant, arrived: usize, moment: Duration, now: Instant) -> f64 {
    now.saturating_duration_since(begun).as_secs_f64() / allowance(moment, arrived).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use hyper::body::Frame;
    use std::convert::Infallible;
    use tokio::sync::mpsc;
    use tokio::task::{JoinHandle, yield_now};
    use tokio::time::{advance, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const KIB: usize = 1024;

    /// A body being read in a task, and the way to send more of it.
    struct Sent {
        pieces: mpsc::UnboundedSender<Bytes>,
        task: JoinHandle<Result<Whole, Reason>>,
    }

    impl Sent {
        fn to(bodies: &Arc<Bodies>) -> Self {
            let (pieces, mut received) = mpsc::unbounded_channel::<Bytes>();
            let frames = futures::stream::poll_fn(move |context| {
                received.poll_recv(context).map(|piece| piece.map(|piece| Ok::<_, Infallible>(Frame::data(piece))))
            });
            let bodies = bodies.clone();
            let mut body = Body::new(StreamBody::new(frames).boxed_unsync());
            Self { pieces, task: tokio::spawn(async move { bodies.read(&mut body).await }) }
        }

        /// Sends a piece and lets it be read.
        async fn more(&self, length: usize) {
            self.pieces.send(Bytes::from(vec![b' '; length])).expect("it is being read");
            for _ in 0..10 {
                yield_now().await;
            }
        }

        async fn end(self) -> Result<usize, Reason> {
            drop(self.pieces);
            self.task.await.expect("no panic").map(|whole| whole.body.len())
        }

        async fn cut(self) -> Reason {
            self.task.await.expect("no panic").expect_err("a refusal")
        }
    }

    fn bodies(bytes: usize, limit: usize) -> Arc<Bodies> {
        Arc::new(Bodies::new(bytes, limit, SECOND * 2))
    }

    #[test]
    fn room_follows_what_arrives_and_not_what_is_announced() {
        let announced = 7 * KIB * KIB;
        assert_eq!(room_for(1, announced), FIRST);
        assert_eq!(room_for(8_000, 8_000), 8_000);
        for arrived in [1, 100, FIRST, FIRST + 1, 100_000, 1_000_000, announced] {
            let room = room_for(arrived, announced);
            assert!(room >= arrived && room <= announced && room <= FIRST.max(2 * arrived), "{arrived}: {room}");
        }
        // hyper never returns more than was announced. It is limited here as well.
        assert_eq!(room_for(11, 10), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_cut_after_its_time() {
        let bodies = bodies(1_000_000, 1_000_000);
        let dripping = Sent::to(&bodies);
        let begun = Instant::now();
        while !dripping.task.is_finished() {
            _ = dripping.pieces.send(Bytes::from_static(b" "));
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(dripping.cut().await, Reason::Overload(Shed::SlowBody));
        assert!((SECOND * 2..SECOND * 3).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        assert_eq!((bodies.room.available_permits(), bodies.waiting().len()), (1_000_000, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_at_a_sane_rate_has_the_time_it_needs() {
        let bodies = bodies(64 * KIB * KIB, 64 * KIB * KIB);
        let large = Sent::to(&bodies);
        for _ in 0..64 {
            large.more(KIB * KIB).await;
            advance(SECOND / 5).await;
        }
        assert_eq!(large.end().await, Ok(64 * KIB * KIB));
    }

    #[tokio::test(start_paused = true)]
    async fn silent_bodies_take_no_room() {
        let bodies = bodies(10 * KIB, 10 * KIB);
        let silent: Vec<_> = (0..100).map(|_| Sent::to(&bodies)).collect();
        let quick = Sent::to(&bodies);
        quick.more(10 * KIB).await;
        assert_eq!(quick.end().await, Ok(10 * KIB));
        for body in silent {
            assert_eq!(body.cut().await, Reason::Overload(Shed::SlowBody));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn small_bodies_find_room_where_large_ones_have_taken_all() {
        let bodies = bodies(84 * KIB, 100 * KIB);
        let large = Sent::to(&bodies);
        large.more(100 * KIB).await;
        assert_eq!(bodies.room.available_permits(), 100 * KIB - counted(100 * KIB));
        let small = Sent::to(&bodies);
        small.more(FIRST).await;
        assert_eq!((small.end().await, large.end().await), (Ok(FIRST), Ok(100 * KIB)));
    }

    #[tokio::test(start_paused = true)]
    async fn when_room_runs_out_the_slowest_gives_way_and_not_the_newest() {
        let bodies = bodies(200 * KIB, 100 * KIB);
        let (slow, slower) = (Sent::to(&bodies), Sent::to(&bodies));
        slow.more(90 * KIB).await;
        slower.more(70 * KIB).await;
        advance(SECOND).await;
        let new = Sent::to(&bodies);
        new.more(90 * KIB).await;
        assert_eq!(slower.cut().await, Reason::Overload(Shed::Bytes));
        assert_eq!((new.end().await, slow.end().await), (Ok(90 * KIB), Ok(90 * KIB)));
        assert_eq!((bodies.room.available_permits(), bodies.waiting().len()), (200 * KIB, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_was_told_to_give_way_takes_no_more_room_though_more_of_it_is_there() {
        let bodies = bodies(200 * KIB, 100 * KIB);
        let told = Sent::to(&bodies);
        told.more(30 * KIB).await;
        for (_, body) in bodies.waiting().iter_mut() {
            body.gives_way = true;
        }
        told.pieces.send(Bytes::from(vec![b' '; 60 * KIB])).expect("it is being read");
        assert_eq!(told.end().await, Err(Reason::Overload(Shed::Bytes)));
        assert_eq!((bodies.room.available_permits(), bodies.waiting().len()), (200 * KIB, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_are_all_quick_do_not_drive_each_other_out() {
        let bodies = bodies(100 * KIB, 100 * KIB);
        let first = Sent::to(&bodies);
        first.more(80 * KIB).await;
        advance(SECOND / 100).await;
        let second = Sent::to(&bodies);
        second.more(80 * KIB).await;
        assert_eq!(second.cut().await, Reason::Overload(Shed::Bytes));
        assert_eq!(first.end().await, Ok(80 * KIB));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_finds_no_room_where_other_work_has_taken_all_and_a_small_one_does() {
        static ALL: Semaphore = Semaphore::const_new(100 * KIB);
        let bodies = Arc::new(Bodies { all: &ALL, ..Bodies::new(100 * KIB, 100 * KIB, SECOND * 2) });
        let work = ALL.try_acquire_many(60 * 1024).expect("room");
        let (large, small) = (Sent::to(&bodies), Sent::to(&bodies));
        large.more(80 * KIB).await;
        assert_eq!(large.cut().await, Reason::Overload(Shed::Bytes));
        assert_eq!((ALL.available_permits(), bodies.room.available_permits()), (40 * KIB, 100 * KIB));
        small.more(FIRST).await;
        assert_eq!(small.end().await, Ok(FIRST));
        drop(work);
        let large = Sent::to(&bodies);
        large.more(80 * KIB).await;
        assert_eq!(large.end().await, Ok(80 * KIB));
        assert_eq!(ALL.available_permits(), 100 * KIB);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_gives_way_where_that_would_not_be_enough() {
        let bodies = bodies(100 * KIB, 100 * KIB);
        let slow = Sent::to(&bodies);
        slow.more(20 * KIB).await;
        advance(SECOND).await;
        // Whole bodies keep their room until they are dropped.
        let whole = Sent::to(&bodies);
        whole.more(60 * KIB).await;
        drop(whole.pieces);
        let whole = whole.task.await.expect("no panic").expect("whole");
        let new = Sent::to(&bodies);
        new.more(70 * KIB).await;
        assert_eq!(new.cut().await, Reason::Overload(Shed::Bytes));
        drop(whole);
        assert_eq!(slow.end().await, Ok(20 * KIB));
    }
}
