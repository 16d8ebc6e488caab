//! Layers that leave while they are packed.

use futures_util::TryStreamExt as _;
use rbuild_cache::blobs::Expected;
use tokio::sync::mpsc;

use super::*;
use crate::departures::{Departure, Departures as _, Followed, HandedOn};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

#[test]
fn a_large_layer_is_followed_to_its_end_and_told_of_once() {
    let place = place();
    let (sender, mut departures) = mpsc::unbounded_channel();
    let handed_on = HandedOn::new(sender);
    let mut writer = place.images.blobs.ingest(Expected::default()).unwrap();
    let mut out = Followed { writer: &mut writer, departures: &handed_on, written: None };
    let piece: Vec<u8> = (0..1_500_000_u32).flat_map(|at| at.to_le_bytes()).collect();
    out.write_all(b"small so far").unwrap();
    assert!(departures.try_recv().is_err(), "what is small waits until it is packed");
    out.write_all(&piece).unwrap();
    let Departure::Growing(layer, mut packed) = departures.try_recv().unwrap() else { panic!("it is large") };
    let follower = std::thread::spawn(move || {
        let collect = layer.pieces().try_fold(Vec::new(), async |all, piece| Ok([all, piece].concat()));
        runtime().block_on(collect).unwrap()
    });
    out.write_all(&piece).unwrap();
    out.write_all(b"its end").unwrap();
    drop(out);
    let digest = writer.finish(&place.lease).unwrap().digest;
    let read = follower.join().unwrap();
    assert_eq!(BlobDigest::of(&read), digest);
    let layer = Descriptor::of(MediaType::OCI_LAYER_GZIP, &read);
    handed_on.packed(&layer).unwrap();
    assert_eq!(packed.try_recv().unwrap().digest, digest, "whoever follows it hears what it has become");
    assert!(departures.try_recv().is_err(), "and nobody else");
    handed_on.packed(&layer).unwrap();
    assert!(departures.try_recv().is_err(), "no layer leaves twice");
    handed_on.packed(&Descriptor::of(MediaType::OCI_LAYER_GZIP, b"another")).unwrap();
    assert!(matches!(departures.try_recv(), Ok(Departure::Packed(_))));
    drop(departures);
    let last = Descriptor::of(MediaType::OCI_LAYER_GZIP, b"one more");
    assert!(handed_on.packed(&last).is_err(), "nobody sends any more");
}

/// Reads the head of the next request; returns its first line and where the answer goes.
fn next_request(listener: &TcpListener) -> (String, std::net::TcpStream) {
    let (stream, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    (line, stream)
}

/// The next push finds the upload of a layer whose stream was cut, by a registry or by death.
#[test]
fn where_a_growing_layer_goes_is_remembered_once_it_is_packed() {
    let place = place_with(quick());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let name = reference(&format!("{address}/a/b:1"));
    let registry = std::thread::spawn(move || {
        let (begun, mut stream) = next_request(&listener);
        let answer =
            b"HTTP/1.1 202 Accepted\r\nLocation: /up\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer).unwrap();
        // From then on it is gone.
        [begun, next_request(&listener).0]
    });
    let (images, lease) = (&place.images, &place.lease);
    let layer = vec![7; 5 << 20];
    let pushed = images.push_packed(&name, Naming::Tag, lease, &Quiet, |departures| {
        let mut writer = images.blobs.ingest(Expected::default())?;
        Followed { writer: &mut writer, departures, written: None }.write_all(&layer).unwrap();
        let blob = writer.finish(lease)?;
        departures.packed(&Descriptor::new(MediaType::OCI_LAYER_GZIP, blob.digest, blob.size))?;
        Ok(Outgoing { images: Vec::new(), index: None })
    });
    assert!(matches!(pushed, Err(ImagesError::Push { .. })), "{pushed:?}");
    let [begun, sent] = registry.join().unwrap();
    assert!(begun.starts_with("POST /v2/a/b/blobs/uploads/ "), "{begun}");
    assert!(sent.starts_with("PATCH /up "), "{sent}");
    let known = place.store.read(|tx| rows::upload(tx, BlobDigest::of(&layer), &name.name())).unwrap();
    assert_eq!(known, Some(format!("http://{address}/up")));
}
