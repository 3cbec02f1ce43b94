//! Tells of most identities that a run does not hold them, without touching its file.
//!
//! A blocked Bloom filter (Putze, Sanders, Singler 2007): every key has one
//! block of 64 bytes, a line of the processor's cache, and seven bits in it.
//! Keys are hashes already, so their own bits are taken: the first eight bytes
//! choose the block, seven times nine of the others the bits. At 16 bits a key
//! about one unknown key in 800 is taken for known.

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 64;

const BITS_PER_KEY: u64 = 16;
const PROBES: u32 = 7;

/// One block.
pub(super) type Block = [u64; 8];

/// A filter in memory.
#[derive(Debug)]
pub(super) struct Filter(Vec<Block>);

impl Filter {
    /// An empty one for up to so many keys.
    pub(super) fn for_keys(keys: u64) -> Self {
        let blocks = (keys * BITS_PER_KEY).div_ceil(BLOCK_BYTES as u64 * 8);
        let blocks = usize::try_from(blocks.max(1)).expect("fewer than there are bytes of memory");
        Self(vec![[0; 8]; blocks])
    }

    pub(super) fn insert(&mut self, key: &[u8; 16]) {
        let at = block_of(key, self.0.len() as u64);
        let block = &mut self.0[usize::try_from(at).expect("less than the number of blocks")];
        for (word, bit) in bits_of(key) {
            block[word] |= bit;
        }
    }

    /// False if the key was certainly never inserted.
    pub(super) fn may_hold(&self, key: &[u8; 16]) -> bool {
        let at = block_of(key, self.0.len() as u64);
        usize::try_from(at).is_ok_and(|at| may_hold(&self.0[at], key))
    }

    /// As it is kept in a file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let words = self.0.iter().flatten();
        words.flat_map(|word| word.to_le_bytes()).collect()
    }

    /// From whole blocks of a file, at least one.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
        Self(blocks.iter().map(block_from).collect())
    }
}

/// Which of so many blocks is the key's.
pub(super) fn block_of(key: &[u8; 16], blocks: u64) -> u64 {
    let (words, _) = key.as_chunks::<8>();
    let scaled = u128::from(u64::from_be_bytes(words[0])) * u128::from(blocks);
    (scaled >> 64) as u64
}

/// Whether the key's block says that the key may be there.
pub(super) fn may_hold(block: &Block, key: &[u8; 16]) -> bool {
    bits_of(key).all(|(word, bit)| block[word] & bit != 0)
}

/// A block as a file has it.
pub(super) fn block_from(bytes: &[u8; BLOCK_BYTES]) -> Block {
    let mut block = [0; 8];
    let (words, _) = bytes.as_chunks::<8>();
    for (to, from) in block.iter_mut().zip(words) {
        *to = u64::from_le_bytes(*from);
    }
    block
}

fn bits_of(key: &[u8; 16]) -> impl Iterator<Item = (usize, u64)> {
    let (words, _) = key.as_chunks::<8>();
    let bits = u64::from_be_bytes(words[1]);
    (0..PROBES).map(move |probe| {
        let bit = (bits >> (probe * 9)) & 511;
        ((bit >> 6) as usize, 1 << (bit & 63))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> [u8; 16] {
        *blake3::hash(&number.to_le_bytes())
            .as_bytes()
            .first_chunk()
            .unwrap()
    }

    #[test]
    fn what_was_inserted_is_held_and_of_the_rest_almost_nothing() {
        let mut filter = Filter::for_keys(20_000);
        for number in 0..20_000 {
            filter.insert(&key(number));
        }

        let read = Filter::from_bytes(&filter.to_bytes());

        assert!((0..20_000).all(|number| read.may_hold(&key(number))));
        let taken = (20_000..120_000).filter(|number| read.may_hold(&key(*number)));
        let taken = taken.count();
        assert!(taken < 300, "{taken} of 100,000 unknown ones");
    }

    #[test]
    fn a_filter_of_nothing_holds_nothing() {
        assert!(!Filter::for_keys(0).may_hold(&key(1)));
    }
}
