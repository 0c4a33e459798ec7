//! One pass through everything, on each backend.
use auraio::{BackendChoice, Engine, OpenOptions, Routing, SimOptions, op};

fn engines() -> Vec<(String, Engine)> {
    let mut all = Vec::new();
    for routing in [Routing::Core, Routing::Thread] {
        for (name, backend) in [
            ("uring", BackendChoice::Uring),
            ("threads", BackendChoice::Threads),
            ("sim", BackendChoice::Sim(SimOptions::new(7))),
        ] {
            match Engine::builder().backend(backend).routing(routing).build() {
                Ok(engine) => all.push((format!("{name} {routing:?}"), engine)),
                Err(error) => eprintln!("{name} is left out: {error}"),
            }
        }
    }
    all
}

#[test]
fn everything_once() {
    for (name, engine) in engines() {
        eprintln!("{name}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        engine.block_on(async {
            engine.submit(op::Nop).await.unwrap();
            let file = engine.open(&path, OpenOptions::new().read(true).write(true).create(true)).await.unwrap();
            let (n, _) = file.write_at(vec![7u8; 10_000], 0).await;
            let mut done = n.unwrap();
            while done < 10_000 {
                let (n, _) = file.write_at(vec![7u8; 10_000 - done], done as u64).await;
                done += n.unwrap();
            }
            let chain = engine.chain().then(op::Write::at(&file, vec![8u8; 100], 50)).then(op::Sync::data(&file));
            let mut results = chain.submit().unwrap().await;
            assert_eq!(results.take::<op::Write<Vec<u8>>>().0.unwrap(), 100);
            results.take::<op::Sync>().unwrap();
            file.sync_all().await.unwrap();
            assert_eq!(file.metadata().await.unwrap().len(), 10_000);
            let reads: Vec<_> = (0..200).map(|i| file.read_at(vec![0u8; 100], i * 50)).collect();
            for (i, read) in reads.into_iter().enumerate() {
                let (n, buf) = read.await;
                let n = n.unwrap();
                assert!(n > 0 && n <= 100);
                assert_eq!(buf[0], if (1..3).contains(&i) { 8 } else { 7 });
            }
            file.set_mode(0o600).await.unwrap();
            file.close().await.unwrap();
            let (n, buf) = engine.read_path(&path, vec![0u8; 20_000]).await;
            let n = n.unwrap();
            assert!(n == 10_000 || name.starts_with("sim"), "{n}");
            assert_eq!(buf[0], 7);
            let missing = engine.open(dir.path().join("none"), OpenOptions::new().read(true)).await.unwrap_err();
            assert_eq!(missing.errno(), 2);
            engine.remove_file(&path).await.unwrap();
        });
        let stats = engine.stats();
        eprintln!("{stats:?}");
        assert!(stats.rings.iter().all(|ring| ring.in_flight == 0 && ring.submitted == ring.completed));
    }
}

#[test]
fn ports() {
    for (name, engine) in engines() {
        eprintln!("{name}");
        let mut port = engine.port().unwrap();
        port.submit_batch((0..1000).map(|token| (op::Nop, token)));
        let mut out = Vec::new();
        port.wait_for(1000, &mut out);
        let mut tokens: Vec<u64> = out.iter().map(|c| c.token()).collect();
        tokens.sort_unstable();
        assert_eq!(tokens, (0..1000).collect::<Vec<u64>>());
    }
}
