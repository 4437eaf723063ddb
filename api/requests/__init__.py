"""What a request may say, in both dialects: body, keys, ids, cursors, filters."""
