"""Addresses are shown without passwords."""

import pytest

from shared.addresses.masking import MASK, masked


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://user:pw@h:5432/d", f"postgresql://user:{MASK}@h:5432/d"),
        ("postgresql://user@h/d", "postgresql://user@h/d"),
        ("postgresql://u:pw@a:1,b:2/d?sslmode=require", f"postgresql://u:{MASK}@a:1,b:2/d?sslmode=require"),
        ("postgresql:///d?host=/run&password=pw", f"postgresql:///d?host=/run&password={MASK}"),
        ("postgresql://u:p@w@h/d", f"postgresql://u:{MASK}@h/d"),
        ("redis://:pw@h:6379/0", f"redis://:{MASK}@h:6379/0"),
        ("unix:///run/redis.sock?db=0&password=pw", f"unix:///run/redis.sock?db=0&password={MASK}"),
        ("http://api:8000/base", "http://api:8000/base"),
        ("https://pw@h/", f"https://{MASK}@h/"),
        ("https://u:pw@h/", f"https://{MASK}@h/"),
        # Not clear where the password ends.
        ("postgresql://u:p/w@h/d", MASK),
        ("postgresql://u:p#w@h/d", MASK),
        ("postgresql://u:p?w@h/d", MASK),
        ("postgresql://u:[pw@h/d", MASK),
        ("host=h password=pw", MASK),
    ],
)
def test_no_password_is_shown(address, shown):
    assert masked(address) == shown
    assert "pw" not in masked(address)
