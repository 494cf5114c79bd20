"""Libraries of other programs as their documentation has them: each path, and whether it is a photo."""

_USER = "8f3c2b1e-0c5e-4a53-9d55-0d3f6f1c9a10"
_ASSET = "ab/cd/abcd1234-0000-4000-8000-000000000000"

LIBRARIES = {
    "Apple Photos": {
        "Photos Library.photoslibrary/originals/A/A1.jpeg": True,
        "Photos Library.photoslibrary/resources/derivatives/A/A1_1_105_c.jpeg": False,
        "Photos Library.photoslibrary/scopes/cloudsharing/data/B1.JPG": False,
    },
    "iPhoto": {
        "iPhoto Library.photolibrary/Masters/2015/08/22/IMG_1.JPG": True,
        "iPhoto Library.photolibrary/Previews/2015/08/22/IMG_1.jpg": False,
        "iPhoto Library/Originals/2007/IMG_2.JPG": True,
        "Old.aplibrary/Masters/IMG_3.JPG": True,
    },
    "Lightroom": {
        "Lightroom/2015/a.jpg": True,
        "Lightroom/Catalog Previews.lrdata/0/00/a.jpg": False,
    },
    "Capture One": {
        "Shoot/Capture/a.jpg": True,
        "Shoot/Capture/CaptureOne/Cache/Thumbnails/a.jpg": False,
        "C.cocatalog/Originals/a.jpg": True,
        "C.cocatalog/Cache/a.jpg": False,
    },
    "Immich": {
        f"immich/upload/{_USER}/{_ASSET}.jpg": True,
        "immich/library/admin/2015/2015-08-22/IMG_1.jpg": True,
        f"immich/thumbs/{_USER}/{_ASSET}-preview.jpeg": False,
        f"immich/encoded-video/{_USER}/{_ASSET}.jpg": False,
        f"immich/profile/{_USER}/{_USER}.png": False,
        "alone/thumbs/.immich": False,
        "alone/thumbs/u/a.jpg": False,
        "alone/upload/.immich": False,
        "alone/upload/u/a.jpg": True,
    },
    "PhotoPrism": {
        "photoprism/originals/2015/a.jpg": True,
        "photoprism/storage/cache/thumbnails/0/1/2/x_720x720_fit.jpg": False,
        "photoprism/storage/sidecar/2015/a.heic.jpg": False,
        "pp/data/.ppstorage": False,
        "pp/data/cache/thumbnails/0/1/x.jpg": False,
        "pp/data/originals/a.jpg": True,
    },
    "Nextcloud": {
        "data/ada/files/Photos/a.jpg": True,
        "data/ada/files_versions/Photos/b.v1.jpg": False,
        "data/ada/files_trashbin/files/a.jpg.d1440230899/b.jpg": False,
        "data/ada/cache/a.jpg": False,
        "data/appdata_oc1abc/preview/a/b/42/1024-768-max.jpg": False,
    },
    "Synology and QNAP": {
        "photo/a.jpg": True,
        "photo/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg": False,
        "photo/#recycle/b.jpg": False,
        "photo/#snapshot/GMT-2015.08.22/a.jpg": False,
        "share/@Recycle/b.jpg": False,
        "share/@Recently-Snapshot/daily/a.jpg": False,
        "share/.@__thumb/s800a.jpg": False,
    },
    "file servers": {
        ".snapshot/hourly.0/a.jpg": False,
        ".zfs/snapshot/daily/a.jpg": False,
        "share/trashbox/2015/a.jpg": False,
        "share/.AppleDouble/a.jpg": False,
        "share/Network Trash Folder/a.jpg": False,
        "share/Temporary Items/a.jpg": False,
        "share/__MACOSX/holidays/a.jpg": False,
        ".recycle/a.jpg": False,
        "Mac.sparsebundle/bands/a.jpg": False,
        "Backups.backupdb/mac/2015/a.jpg": False,
        "a.jpg": True,
    },
    "trash": {
        ".Trash-1000/files/a.jpg": False,
        "$RECYCLE.BIN/S-1-5-21/$R1.jpg": False,
        "System Volume Information/a.jpg": False,
        "lost+found/a.jpg": False,
        "Recently Deleted/a.jpg": False,
        "Takeout/Google Photos/Bin/a.jpg": False,
        "tools/bin/a.jpg": True,
    },
    "synchronised": {
        ".stversions/a~20150822-100819.jpg": False,
    },
    "editors": {
        "a.jpg": True,
        "darktable_exported/a.jpg": True,
        "mipmaps-0123456789abcdef.d/0/1.jpg": False,
        ".picasaoriginals/a.jpg": False,
        "[Originals]/a.jpg": False,
        ".dtrash/files/a.jpg": False,
        ".thumbnails/a.jpg": False,
    },
    "servers": {
        "Plex Media Server/Cache/PhotoTranscoder/0/a.jpg": False,
        "piwigo/upload/2015/a.jpg": True,
        "piwigo/_data/i/upload/2015/a-me.jpg": False,
    },
    "Lychee": {
        "lychee/uploads/original/c3/3d/c661c594a5a781cd44db06828783.jpg": True,
        **{
            f"lychee/uploads/{size}/c3/3d/c661c594a5a781cd44db06828783.jpg": False
            for size in ("medium2x", "medium", "small2x", "small", "thumb2x", "thumb", "placeholder")
        },
        "lychee 3/uploads/big/a.jpg": True,
        "lychee 3/uploads/thumb/a.jpg": False,
        "mine/uploads/small/a.jpg": True,
    },
    "Photoview": {
        "photoview/media_cache/1/2/thumbnail_a_1.jpg": False,
        "photoview/storage/1/2/thumbnail_a_1.jpg": False,
        "photoview/photos/a.jpg": True,
    },
    "cameras": {
        "DCIM/100MSDCF/DSC00001.JPG": True,
        "PRIVATE/M4ROOT/THMBNL/C0001T01.JPG": False,
    },
    "a user's own names": {
        "small/a.jpg": True,
        "own/thumbs/a.jpg": True,
        "library/a.jpg": True,
        "upload/a.jpg": True,
        "cache/a.jpg": True,
        "backups/a.jpg": True,
    },
    "kept out": {
        "a/a.jpg": True,
        "b/.nomedia": False,
        "b/a.jpg": False,
        "b/sub/a.jpg": False,
        "c/.noimage": False,
        "c/a.jpg": False,
        "d/.ppignore": False,
        "d/a.jpg": False,
        "e/sub/.nomedia": False,
        "e/sub/a.jpg": False,
        "e/z.jpg": True,
    },
}
