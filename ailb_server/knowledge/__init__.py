"""Documents that chats draw upon: kept in collections, found by meaning and by words."""
