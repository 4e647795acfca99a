use super::*;
use proptest::prelude::*;

fn read(bytes: &[u8]) -> Result<Pickle, Error> {
    Pickle::from_bytes(Bytes::copy_from_slice(bytes), Path::new("test.pkl"))
}

fn problem(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

/// pickle.dumps({"a": [1, -2, 2.5, None, True, 300, 70000], b"k": ("x", b"yz")}, 2), from Python 3.11.
const PROTOCOL_2: &[u8] = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\x00\
\x00\x00\x00\x00\x00N\x88M,\x01Jp\x11\x01\x00ec_codecs\nencode\nq\x03X\x01\x00\x00\x00kq\x04X\x06\x00\x00\x00\
latin1q\x05\x86q\x06Rq\x07X\x01\x00\x00\x00xq\x08h\x03X\x02\x00\x00\x00yzq\th\x05\x86q\nRq\x0b\x86q\x0cu.";

#[test]
fn plain_values_of_protocol_2() {
    let pickle = read(PROTOCOL_2).unwrap();
    let root = pickle.root();
    assert_eq!(root.keys().unwrap(), ["a", "k"]);
    let list: Vec<Value<'_>> = root.get("a").unwrap().items().unwrap().collect();
    assert_eq!(list[0].as_i64(), Some(1));
    assert_eq!(list[1].as_i64(), Some(-2));
    assert_eq!(list[2].as_f64(), Some(2.5));
    assert!(list[3].is_none());
    assert_eq!(list[4].as_bool(), Some(true));
    assert_eq!(list[5].as_i64(), Some(300));
    assert_eq!(list[6].as_i64(), Some(70000));
    let pair: Vec<Value<'_>> = root.get("k").unwrap().items().unwrap().collect();
    assert_eq!(pair[0].as_str(), Some("x"));
    assert_eq!(pair[1].as_bytes(), Some(&b"yz"[..]));
}

#[test]
fn integers_of_every_length() {
    // pickle.dumps([2**40, -1, -2**63, 0], 4) in terms of LONG1; LONG1 of length 0 is 0.
    let bytes = b"\x80\x04](\x8a\x06\0\0\0\0\0\x01\x8a\x01\xff\x8a\x08\0\0\0\0\0\0\0\x80\x8a\x00e.";
    let pickle = read(bytes).unwrap();
    let values: Vec<_> = pickle.root().items().unwrap().map(|v| v.as_i64().unwrap()).collect();
    assert_eq!(values, [1 << 40, -1, i64::MIN, 0]);
    assert!(problem(b"\x80\x04\x8a\x09\0\0\0\0\0\0\0\0\x01.").contains("9 bytes"));
}

/// pickle.dumps(numpy.array([1, -2, 300], ">i2"), 3) with the name of the module as given.
fn array_protocol_3(module: &str) -> Vec<u8> {
    let mut bytes = b"\x80\x03c".to_vec();
    bytes.extend(module.as_bytes());
    bytes.extend(
        b"\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85q\x02C\x01bq\x03\x87q\x04Rq\x05(K\x01K\x03\x85\
          q\x06cnumpy\ndtype\nq\x07X\x02\x00\x00\x00i2q\x08\x89\x88\x87q\tRq\n(K\x03X\x01\x00\x00\x00>q\x0bNNN\
          J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0cb\x89C\x06\x00\x01\xff\xfe\x01,q\rtq\x0eb.",
    );
    bytes
}

#[test]
fn numeric_arrays_of_old_and_new_numpy() {
    for module in ["numpy.core.multiarray", "numpy._core.multiarray"] {
        let pickle = read(&array_protocol_3(module)).unwrap();
        assert_eq!(pickle.root().as_array().unwrap().dtype().to_string(), ">i2");
        assert_eq!(pickle.root().numbers().unwrap(), [1.0, -2.0, 300.0]);
        assert_eq!(pickle.root().kind(), "an array of >i2 of shape [3]");
    }
}

#[test]
fn arrays_of_protocol_5() {
    // pickle.dumps(numpy.array([[1., 2.], [3., 4.]], "f4").T, 5): Fortran order.
    let mut bytes =
        b"\x80\x05\x8c\x13numpy._core.numeric\x8c\x0b_frombuffer\x93(\x96\x10\0\0\0\0\0\0\0".to_vec();
    bytes.extend([1f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()));
    bytes.extend(
        b"\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02f4\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\
                   \xff\xff\xff\xffK\0tbK\x02K\x02\x86\x8c\x01FtR.",
    );
    let pickle = read(&bytes).unwrap();
    let array = pickle.root().as_array().unwrap();
    assert_eq!(array.shape(), [2, 2]);
    assert_eq!(array.to_f64().unwrap(), [1.0, 3.0, 2.0, 4.0]);
}

#[test]
fn forbidden_names_are_reported_and_nothing_runs() {
    let attack = b"\x80\x03cposix\nsystem\nX\x04\0\0\0true\x85R.";
    let error = read(attack).unwrap_err();
    assert!(matches!(&error, Error::ForbiddenGlobal { global, .. } if global == "posix.system"));
    let stacked = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.";
    assert!(problem(stacked).contains("builtins.eval"));
    // Every allowed module has dangerous siblings, and INST names a class without GLOBAL.
    assert!(problem(b"\x80\x02cnumpy\nload\n.").contains("numpy.load"));
    assert!(problem(b"\x80\x02c_codecs\nlookup\n.").contains("_codecs.lookup"));
    assert!(problem(b"\x80\x02(ios\nsystem\n.").contains("os.system"));
    assert!(problem(b"\x80\x02c../../etc\nx\n.").contains("../../etc.x"));
    // An allowed name called in a way that is not data.
    assert!(problem(b"\x80\x02cnumpy\nndarray\n)R.").contains("call"));
    // Instances: NEWOBJ, EXT1, PERSID.
    for operation in [0x81u8, 0x82, b'Q', b'o'] {
        assert!(problem(&[0x80, 2, operation, b'.']).contains("operation"));
    }
}

#[test]
fn every_truncation_is_an_error() {
    for whole in [PROTOCOL_2.to_vec(), array_protocol_3("numpy.core.multiarray")] {
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "prefix of {length} bytes");
        }
    }
    assert!(problem(&PROTOCOL_2[..40]).contains("ends early"));
}

#[test]
fn old_protocols_and_other_files_are_refused() {
    assert!(problem(b"").contains("empty"));
    assert!(problem(b"(dp0\n.").contains("not a pickle of protocol 2"));
    assert!(problem(b"\x80\x06N.").contains("protocol 6"));
}

#[test]
fn data_must_fit_shape_and_type() {
    let whole = array_protocol_3("numpy.core.multiarray");
    let at = whole.windows(3).position(|w| w == b"K\x03\x85").unwrap();
    for axis in [2u8, 4, 255] {
        let mut wrong = whole.clone();
        wrong[at + 1] = axis;
        assert!(problem(&wrong).contains("6 bytes of data"));
    }
}

#[test]
fn lengths_beyond_the_file_allocate_nothing() {
    assert!(problem(b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f").contains("ends early"));
    assert!(problem(b"\x80\x04B\xff\xff\xff\xffabc").contains("ends early"));
    assert!(problem(b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.").contains("ends early"));
}

#[test]
fn a_million_nested_lists_do_not_overflow_the_stack() {
    let depth = 1_000_000;
    let mut bytes = vec![0x80, 2];
    bytes.extend(std::iter::repeat_n(b']', depth));
    bytes.extend(std::iter::repeat_n(b'a', depth - 1));
    bytes.push(b'.');
    let pickle = read(&bytes).unwrap();
    assert_eq!(pickle.root().items().unwrap().len(), 1);
}

#[test]
fn a_list_that_contains_itself_is_one_object() {
    let pickle = read(b"\x80\x02]q\x00h\x00a.").unwrap();
    let inner = pickle.root().items().unwrap().next().unwrap();
    assert_eq!(inner.items().unwrap().len(), 1);
}

#[test]
fn repeated_encoding_shares_memory() {
    // The same long text, encoded many times: one copy.
    let text = "a".repeat(10_000);
    let mut bytes = b"\x80\x02X".to_vec();
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(b"q\x000c_codecs\nencode\nq\x010X\x06\0\0\0latin1q\x020](");
    for _ in 0..1000 {
        bytes.extend(b"h\x01h\x00h\x02\x86R");
    }
    bytes.extend(b"e.");
    let pickle = read(&bytes).unwrap();
    let addresses: std::collections::HashSet<*const u8> =
        pickle.root().items().unwrap().map(|item| item.as_bytes().unwrap().as_ptr()).collect();
    assert_eq!(addresses.len(), 1);
}

#[test]
fn the_last_setting_of_a_key_counts() {
    let pickle = read(b"\x80\x02}(X\x01\0\0\0aK\x01X\x01\0\0\0aK\x02u.").unwrap();
    assert_eq!(pickle.root().get("a").unwrap().as_i64(), Some(2));
    assert_eq!(pickle.root().keys().unwrap(), ["a"]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut pickle = vec![0x80, 4];
        pickle.extend(bytes);
        let _ = read(&pickle);
    }

    #[test]
    fn damaged_arrays_never_panic(at in 0usize..200, byte: u8) {
        let mut bytes = array_protocol_3("numpy.core.multiarray");
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(pickle) = read(&bytes) {
            let _ = (pickle.root().numbers(), pickle.root().texts(), pickle.root().kind());
        }
    }
}
