//! Sealed files as others write them, and every way in which one is not opened.

use super::*;

/// Of 32 bytes 0x42, as others write them.
const SECRET: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
const RECIPIENT: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

const CONTENT: &[u8] = b"planted-key-0123456789";

/// Sealed by another program for two recipients, of whom `SECRET` is the second.
const BY_OTHERS: &str = "\
    6167652d656e6372797074696f6e2e6f72672f76310a2d3e2058323535313920597a4d4b485657427038424d\
    5370754269472b6b512b733437596a5032513730787065467961377a4d67340a614b7250675251524f673836\
    714c2b496974426472654e7176315530476333734c556e57637347422f2f340a2d3e20583235353139206a77\
    4235694e4775756b5772424e48625777776e45316d4d565a74542f72354d727852336e31414257696b0a5949\
    7777303878527669316876686768654b5a4439716c7761576c62785561715245474e502b706b47394d0a2d3e\
    20672e5d4375332d677265617365206d7a66255d3223207e570a705333466f76637449616d2f6c4d6d537579\
    745135585a5661647a4748646b306f6d36543970563775614c4a4e724c71436a3937716a714b776267336631\
    41360a62764f63394e6665656a4d754550743967706f6370306c613778682b42664872366637746b56574948\
    69726f5545393069744e377842496c0a2d2d2d204a516643793352684c44634c4b6533326d36457061565376\
    385a56745a4d372b424d5247354b42696b38340a037d9d65f9eb9dba9d03fe5b06e9ef965a0a8d3432b30af6\
    ea0047ca11532f30f4c12b3b806bb7337c02f7fbf1770132ca4bfa9c022d\
    ";

fn by_others() -> Vec<u8> {
    let digits = BY_OTHERS.as_bytes().chunks(2);
    let byte = |it: &[u8]| u8::from_str_radix(std::str::from_utf8(it).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn identity() -> Identity {
    Identity::parse(&format!("# created: today\n\n{SECRET}\n")).unwrap()
}

fn fault(opened: Result<Zeroizing<Vec<u8>>, Fault>) -> Fault {
    opened.map(drop).unwrap_err()
}

#[test]
fn an_identity_is_written_as_others_do() {
    assert_eq!(identity().recipient(), RECIPIENT);
    assert!(
        identity()
            .text()
            .ends_with(&format!("{RECIPIENT}\n{SECRET}\n"))
    );
    for wrong in [
        "",
        "# nothing",
        RECIPIENT,
        &SECRET[..70],
        "AGE-SECRET-KEY-1",
    ] {
        assert!(Identity::parse(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn what_another_program_sealed_is_opened() {
    assert_eq!(*identity().open(&by_others()).unwrap(), CONTENT);
    let stranger = Identity::generate().unwrap_or_else(|it| panic!("{it}"));
    assert_eq!(fault(stranger.open(&by_others())), Fault::Other);
}

#[test]
fn what_is_sealed_is_opened_by_its_identity_alone() {
    for length in [0, 1, 22, 4_096] {
        let content = vec![b'k'; length];
        let file = identity().seal(&content).unwrap();
        assert_eq!(*identity().open(&file).unwrap(), content);
        let other = Identity::generate().unwrap_or_else(|it| panic!("{it}"));
        assert_eq!(fault(other.open(&file)), Fault::Other);
        assert_eq!(
            *other.open(&other.seal(&content).unwrap()).unwrap(),
            content
        );
    }
    let (one, two) = (
        identity().seal(CONTENT).unwrap(),
        identity().seal(CONTENT).unwrap(),
    );
    assert_ne!(one, two);
}

#[test]
fn whatever_is_changed_or_missing_it_is_not_opened() {
    let file = identity().seal(CONTENT).unwrap();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(identity().open(&changed).is_err(), "changed at {at}");
        assert!(identity().open(&file[..at]).is_err(), "cut at {at}");
    }
    let longer = [file.as_slice(), b"x"].concat();
    assert!(identity().open(&longer).is_err());
    assert_eq!(
        fault(identity().open(&vec![0; FILE_BYTES_MAX + 1])),
        Fault::Malformed
    );
    assert!(identity().seal(&vec![0; CONTENT_BYTES_MAX + 1]).is_err());
}

#[test]
fn a_share_that_is_the_same_for_everybody_is_none() {
    let zero = PublicKey::from([0; 32]);
    let identity = identity();
    assert!(wrapping(&identity.0, &zero, &zero, &zero).is_none());
}
