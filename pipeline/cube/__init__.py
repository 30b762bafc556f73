"""What a store is: layout, shards, completion, channels, the map's arrays, the trained model's files, opening."""
