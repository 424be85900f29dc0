use super::*;
use crate::audit::tree::Edge;

/// Computes the root as RFC 6962 section 2.1 defines it, word for word.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::empty(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
            Hash::node(&naive_root(left), &naive_root(right))
        }
    }
}

/// Computes PATH of section 2.1.1.
fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = largest_power_below(leaves.len());
    let (left, right) = leaves.split_at(k);
    if index < k {
        let mut path = naive_path(index, left);
        path.push(naive_root(right));
        path
    } else {
        let mut path = naive_path(index - k, right);
        path.push(naive_root(left));
        path
    }
}

/// Computes SUBPROOF of section 2.1.2.
fn naive_subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let k = largest_power_below(leaves.len());
    let (left, right) = leaves.split_at(k);
    if m <= k {
        let mut proof = naive_subproof(m, left, whole);
        proof.push(naive_root(right));
        proof
    } else {
        let mut proof = naive_subproof(m - k, right, false);
        proof.push(naive_root(left));
        proof
    }
}

fn largest_power_below(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// Makes leaves, and all tiles of their tree.
fn tree(size: u32) -> (Vec<Hash>, BTreeMap<TileId, Tile>) {
    let leaves: Vec<Hash> = (0..size).map(|number| Hash::leaf(&number.to_be_bytes())).collect();
    let (mut edge, mut tiles) = (Edge::default(), Vec::new());
    leaves.iter().for_each(|leaf| edge.push(*leaf, &mut tiles));
    tiles.extend(edge.partial());
    (leaves, tiles.into_iter().map(|tile| (tile.id, tile)).collect())
}

/// Makes proofs from tiles, each subtree once, and compares them with the naive tree.
struct Maker {
    leaves: Vec<Hash>,
    tiles: BTreeMap<TileId, Tile>,
    known: BTreeMap<(u64, u64), Hash>,
}

impl Maker {
    fn new(size: u32) -> Self {
        let (leaves, tiles) = tree(size);
        Self { leaves, tiles, known: BTreeMap::new() }
    }

    fn make(&mut self, plan: &ProofPlan) -> Vec<Hash> {
        let Self { leaves, tiles, known } = self;
        let hash = |span: &(u64, u64)| {
            *known.entry(*span).or_insert_with(|| {
                let made = ProofPlan { spans: vec![*span] }.make(tiles).unwrap()[0];
                assert_eq!(made, naive_root(&leaves[span.0 as usize..span.1 as usize]), "{span:?}");
                made
            })
        };
        plan.spans.iter().map(hash).collect()
    }
}

#[test]
fn inclusion_proofs_are_those_of_the_rfc_for_every_index_and_size_up_to_300() {
    // the tiles of the full log serve every smaller size too
    let mut maker = Maker::new(300);
    for size in 1..=300_u64 {
        let root = maker.make(&ProofPlan::root(size))[0];
        for index in 0..size {
            let proof = maker.make(&ProofPlan::inclusion(index, size).unwrap());
            if size < 24 {
                assert_eq!(proof, naive_path(index as usize, &maker.leaves[..size as usize]), "{index} of {size}");
            }
            assert!(proof.len() <= size.next_power_of_two().ilog2() as usize, "{index} of {size}");
            verify_inclusion(&maker.leaves[index as usize], index, TreeHead::new(size, root), &proof).unwrap();
        }
    }
}

#[test]
fn consistency_proofs_are_those_of_the_rfc_for_every_pair_of_sizes_up_to_300() {
    let mut maker = Maker::new(300);
    let roots: Vec<Hash> = (0..=300).map(|size| maker.make(&ProofPlan::root(size))[0]).collect();
    let other = Hash::leaf(b"other");
    for new in 0..=300_u64 {
        for old in 0..=new {
            let proof = maker.make(&ProofPlan::consistency(old, new).unwrap());
            if old > 0 && new < 24 {
                assert_eq!(proof, naive_subproof(old as usize, &maker.leaves[..new as usize], true), "{old} of {new}");
            }
            let (old_root, new_root) = (&roots[old as usize], &roots[new as usize]);
            verify_consistency(TreeHead::new(old, *old_root), TreeHead::new(new, *new_root), &proof).unwrap();
            if old > 0 && old < new && new % 7 == 0 {
                assert!(verify_consistency(TreeHead::new(old, other), TreeHead::new(new, *new_root), &proof).is_err());
                assert!(verify_consistency(TreeHead::new(old, *old_root), TreeHead::new(new, other), &proof).is_err());
            }
        }
    }
}

#[test]
fn a_proof_that_was_touched_proves_nothing() {
    let (leaves, tiles) = tree(300);
    let root = naive_root(&leaves);
    for index in [0, 1, 128, 255, 256, 298, 299_usize] {
        let at = index as u64;
        let proof = ProofPlan::inclusion(at, 300).unwrap().make(&tiles).unwrap();
        let leaf = &leaves[index];
        assert!(verify_inclusion(&Hash::leaf(b"other"), at, TreeHead::new(300, root), &proof).is_err());
        assert!(verify_inclusion(leaf, at ^ 1, TreeHead::new(300, root), &proof).is_err());
        assert_eq!(
            verify_inclusion(leaf, 300, TreeHead::new(300, root), &proof),
            Err(ProofError::OutOfRange { index: 300, size: 300 })
        );
        assert!(verify_inclusion(leaf, at, TreeHead::new(0, root), &proof).is_err());
        assert!(verify_inclusion(leaf, at, TreeHead::new(300, root), &proof[1..]).is_err());
        let longer = [proof.as_slice(), &[root]].concat();
        assert_eq!(
            verify_inclusion(leaf, at, TreeHead::new(300, root), &longer),
            Err(ProofError::Length { hashes: longer.len() })
        );
        for place in 0..proof.len() {
            let mut proof = proof.clone();
            proof[place] = Hash::leaf(b"touched");
            assert_eq!(verify_inclusion(leaf, at, TreeHead::new(300, root), &proof), Err(ProofError::OtherRoot));
        }
    }
}

#[test]
fn a_proof_in_a_log_of_a_million_reads_few_tiles() {
    for index in [0, 1, 65_535, 65_536, 524_288, 999_999] {
        let plan = ProofPlan::inclusion(index, 1_000_000).unwrap();
        assert!(plan.spans.len() <= 20);
        assert!(plan.tiles().len() <= 6, "{:?}", plan.tiles());
    }
    assert!(ProofPlan::consistency(777_777, 1_000_000).unwrap().tiles().len() <= 6);
}

#[test]
fn a_missing_tile_is_named() {
    let (_, mut tiles) = tree(300);
    let gone = TileId { level: 0, index: 0 };
    tiles.remove(&gone);
    let missing = ProofPlan::inclusion(3, 300).unwrap().make(&tiles).unwrap_err();
    assert_eq!(missing, BTreeSet::from([gone]));
}

/// Proofs over the eight leaves of the certificate-transparency vectors, computed outside this code
/// with Python's hashlib.
#[test]
fn proofs_over_the_rfc_vectors_verify() {
    let hash = |hex: &str| {
        let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect();
        Hash::from_bytes(bytes.try_into().unwrap())
    };
    let root = |size| match size {
        1 => hash("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        6 => hash("76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
        _ => hash("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    };
    let first_eight = [
        hash("96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"),
        hash("5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"),
        hash("6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"),
    ];
    verify_inclusion(&Hash::leaf(b""), 0, TreeHead::new(8, root(8)), &first_eight).unwrap();
    verify_consistency(TreeHead::new(1, root(1)), TreeHead::new(8, root(8)), &first_eight).unwrap();
    let five_of_eight = [
        hash("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"),
        hash("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"),
        hash("d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ];
    verify_inclusion(&Hash::leaf(b"\x40\x41\x42\x43"), 5, TreeHead::new(8, root(8)), &five_of_eight).unwrap();
    let six_of_eight = [
        hash("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"),
        hash("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"),
        hash("d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ];
    verify_consistency(TreeHead::new(6, root(6)), TreeHead::new(8, root(8)), &six_of_eight).unwrap();
}
