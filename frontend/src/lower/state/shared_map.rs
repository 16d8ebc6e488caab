//! A map whose copies share what they have in common.
//!
//! A stage begins with the variables of the one it stands on, and ten thousand stages that add one each would come to fifty
//! million. Here a copy is one pointer, and a change makes anew what lies on the way to it: an [AA tree], whose depth is at
//! most twice the logarithm of what it holds, whatever the names are.
//!
//! [AA tree]: https://en.wikipedia.org/wiki/AA_tree

use std::cmp::Ordering;
use std::rc::Rc;

/// A map by name, in the order of the names.
#[derive(Clone, Debug)]
pub(crate) struct SharedMap<V> {
    root: Link<V>,
    len: usize,
}

type Link<V> = Option<Rc<Node<V>>>;

#[derive(Clone, Debug)]
struct Node<V> {
    name: Rc<str>,
    value: V,
    /// A leaf has 0; a node's left child has one less, its right child the same or one less.
    level: u8,
    left: Link<V>,
    right: Link<V>,
}

impl<V> Default for SharedMap<V> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<V> SharedMap<V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        let mut link = &self.root;
        while let Some(node) = link {
            link = match name.cmp(&node.name) {
                Ordering::Less => &node.left,
                Ordering::Greater => &node.right,
                Ordering::Equal => return Some(&node.value),
            };
        }
        None
    }

    /// Returns all entries in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Rc<str>, &V)> {
        let mut above = Vec::new();
        let mut next = &self.root;
        std::iter::from_fn(move || {
            while let Some(node) = next {
                above.push(node);
                next = &node.left;
            }
            let node = above.pop()?;
            next = &node.right;
            Some((&node.name, &node.value))
        })
    }
}

impl<V: Clone> SharedMap<V> {
    /// Sets an entry, and returns the one it takes the place of.
    pub(crate) fn insert(&mut self, name: Rc<str>, value: V) -> Option<V> {
        let before = insert(&mut self.root, name, value);
        self.len += usize::from(before.is_none());
        before
    }
}

fn insert<V: Clone>(link: &mut Link<V>, name: Rc<str>, value: V) -> Option<V> {
    let Some(shared) = link else {
        *link = Some(Rc::new(Node { name, value, level: 0, left: None, right: None }));
        return None;
    };
    let node = Rc::make_mut(shared);
    let before = match name.cmp(&node.name) {
        Ordering::Less => insert(&mut node.left, name, value),
        Ordering::Greater => insert(&mut node.right, name, value),
        Ordering::Equal => return Some(std::mem::replace(&mut node.value, value)),
    };
    if before.is_none() {
        skew(shared);
        split(shared);
    }
    before
}

/// Turns right where the left child has the node's own level.
fn skew<V: Clone>(top: &mut Rc<Node<V>>) {
    let level = top.level;
    if top.left.as_ref().is_none_or(|left| left.level != level) {
        return;
    }
    let node = Rc::make_mut(top);
    if let Some(mut left) = node.left.take() {
        node.left = Rc::make_mut(&mut left).right.take();
        std::mem::swap(top, &mut left);
        Rc::make_mut(top).right = Some(left);
    }
}

/// Turns left, one level up, where the right child's right child has the node's own level.
fn split<V: Clone>(top: &mut Rc<Node<V>>) {
    let level = top.level;
    let second = top.right.as_ref().and_then(|right| right.right.as_ref());
    if second.is_none_or(|second| second.level != level) {
        return;
    }
    let node = Rc::make_mut(top);
    if let Some(mut right) = node.right.take() {
        node.right = Rc::make_mut(&mut right).left.take();
        std::mem::swap(top, &mut right);
        let node = Rc::make_mut(top);
        node.left = Some(right);
        node.level += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Returns the height of a tree, and checks the levels of its nodes.
    fn height(link: &Link<u32>) -> u32 {
        let Some(node) = link else { return 0 };
        let level = |link: &Link<u32>| link.as_ref().map_or(-1, |node| i32::from(node.level));
        let own = i32::from(node.level);
        assert_eq!(level(&node.left), own - 1);
        assert!([own, own - 1].contains(&level(&node.right)));
        assert!(node.right.as_ref().is_none_or(|right| level(&right.right) < own));
        1 + height(&node.left).max(height(&node.right))
    }

    fn check(map: &SharedMap<u32>, expected: &BTreeMap<String, u32>) {
        let entries: Vec<_> = map.iter().map(|(name, value)| (name.to_string(), *value)).collect();
        assert_eq!(entries, expected.clone().into_iter().collect::<Vec<_>>());
        assert_eq!(map.len(), expected.len());
        assert!(height(&map.root) <= 2 * (map.len() + 1).ilog2());
    }

    proptest! {
        #[test]
        fn copies_are_maps_of_their_own(changes in prop::collection::vec((0_usize..8, "[a-c]{0,4}", any::<u32>()), 0..200)) {
            let mut maps: Vec<(SharedMap<u32>, BTreeMap<String, u32>)> = vec![Default::default()];
            for (which, name, value) in changes {
                let (mut map, mut expected) = maps[which % maps.len()].clone();
                prop_assert_eq!(map.get(&name), expected.get(&name));
                prop_assert_eq!(map.insert(name.as_str().into(), value), expected.insert(name, value));
                maps.push((map, expected));
                if maps.len() > 8 {
                    maps.remove(0);
                }
            }
            for (map, expected) in &maps {
                check(map, expected);
            }
        }
    }

    #[test]
    fn a_copy_with_one_more_shares_all_but_the_way_to_it() {
        let mut map = SharedMap::default();
        for at in 0..10_000_u32 {
            map.insert(format!("{at:05}").into(), at);
        }
        assert!(height(&map.root) <= 2 * 10_001_u32.ilog2());
        let copy = map.clone();
        map.insert("00500x".into(), 1);
        fn own(link: &Link<u32>, other: &Link<u32>) -> usize {
            let Some(node) = link else { return 0 };
            let shared = |other: &Rc<Node<u32>>| Rc::ptr_eq(node, other);
            if other.as_ref().is_some_and(shared) {
                return 0;
            }
            let (left, right) = other.as_ref().map_or((&None, &None), |other| (&other.left, &other.right));
            1 + own(&node.left, left) + own(&node.right, right)
        }
        assert!(own(&map.root, &copy.root) < 60, "{}", own(&map.root, &copy.root));
        assert_eq!((map.len(), copy.len()), (10_001, 10_000));
    }
}
