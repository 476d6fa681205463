"""A cache's objects are read and judged by their names, whatever they hold and whatever happens meanwhile."""

import hashlib
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from toycrystals.cache import Damage, find_damage, list_cache, remove_leftovers, repair


def test_what_vanishes_meanwhile_is_passed_over(tmp_path):
    assert remove_leftovers([tmp_path / ".abc.tmp"]) == []
    (tmp_path / "copy").write_bytes(b"damaged")
    damage = Damage("0" * 32, tmp_path / "object", hashlib.md5(b"damaged").hexdigest(), 7)
    assert repair(damage, ["copy"], tmp_path) == ["removed from the cache", "removed copy"]
    assert not (tmp_path / "copy").exists()


@given(
    objects=st.lists(st.binary(max_size=200), unique=True, max_size=12),
    damaged=st.sets(st.integers(0, 11)),
    data=st.data(),
)
@settings(max_examples=50, deadline=None)
def test_exactly_the_damaged_objects_are_found(objects, damaged, data):
    with tempfile.TemporaryDirectory() as folder:
        expected = set()
        for i, content in enumerate(objects):
            name = hashlib.md5(content).hexdigest()
            written = data.draw(st.binary(max_size=200).filter(lambda x, y=content: x != y)) if i in damaged else content
            if written != content:
                expected.add(name)
            path = Path(folder, "files/md5", name[:2], name[2:])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(written)
        cache = list_cache(Path(folder))
        read = []
        found = find_damage({path: name for name, path in cache.objects.items()}, read.append)
        assert {damage.name for damage in found} == expected
        assert len(cache.objects) == len(objects) == len(read)
