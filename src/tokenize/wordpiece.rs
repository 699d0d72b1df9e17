use super::added::Tokens;
use super::definition::Definition;
use super::fast::Family;

pub(super) fn load(_definition: &Definition<'_>) -> Option<(Box<dyn Family>, Tokens)> {
    None
}
